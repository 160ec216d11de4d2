"""The mean of the harmonic means of precision and recall."""

KIND = "classes"


def definition(outputs, targets):
    guesses = [row.index(max(row)) for row in outputs]
    found = []
    for label in {*guesses, *targets}:
        both = sum(g == t == label for g, t in zip(guesses, targets, strict=True))
        precision = both / max(1, guesses.count(label))
        recall = both / max(1, targets.count(label))
        found.append(2 * precision * recall / (precision + recall) if both else 0.0)
    return sum(found) / len(found)
