"""Names by loops: a name begins at B- and goes on as long as I- of its kind follows."""

KIND = "tags"
LABELS = ("O", "B-X", "I-X", "B-Y", "I-Y")


def names(tags):
    found = set()
    for start, tag in enumerate(tags):
        if tag.startswith("B-"):
            end = start + 1
            while end < len(tags) and tags[end] == f"I-{tag[2:]}":
                end += 1
            found.add((start, end, tag[2:]))
    return found


def definition(outputs, targets, sequences):
    guesses = [row.index(max(row)) for row in outputs]
    right = guessed = true = 0
    for sequence in dict.fromkeys(sequences):
        own = [n for n, other in enumerate(sequences) if other == sequence]
        one, other = (names([LABELS[tags[n]] for n in own]) for tags in (guesses, targets))
        right, guessed, true = right + len(one & other), guessed + len(one), true + len(other)
    precision, recall = right / guessed, right / true
    return 2 * precision * recall / (precision + recall)
