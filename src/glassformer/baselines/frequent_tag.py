"""The tag that a word most often has in the training data; of a word that is not there, the one that is most frequent
among words that stand there once (which are likest to the unknown ones), or among all where none does."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence


class FrequentTag:
    """Counted from sentences of words and their tags. Raises ValueError without a word."""

    def __init__(self, sentences: Iterable[tuple[Sequence[str], Sequence[str]]]) -> None:
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for words, tags in sentences:
            for word, tag in zip(words, tags, strict=True):
                counts[word][tag] += 1
        self.tags = {word: found.most_common(1)[0][0] for word, found in counts.items()}
        once = Counter(tag for found in counts.values() if found.total() == 1 for tag in found)
        of_all = sum(counts.values(), Counter[str]())
        if not of_all:
            raise ValueError("there is no word to count")
        self.of_others = (once or of_all).most_common(1)[0][0]

    def guess(self, words: Sequence[str]) -> list[str]:
        """A tag for each word."""
        return [self.tags.get(word, self.of_others) for word in words]
