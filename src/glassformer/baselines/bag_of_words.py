"""What a linear model makes of the words of a text, without their order: the line that a text classifier must beat.

Words and pairs of neighbours, weighted by tf-idf, and logistic regression on them (scikit-learn's). In a script that
puts no spaces between words it is one to three characters instead. How strongly it is held back (C) is chosen on the
validation texts, which a model that is trained may see too.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64

from glassformer.data.scripts import is_without_spaces, words_in

STRENGTHS = (0.1, 1.0, 10.0, 100.0)
"""The values of C that are tried: the larger, the less the weights are held back."""
_ROUNDS = 1000


class BagOfWords(NamedTuple):
    """A fitted one."""

    vectors: Any
    """The TfidfVectorizer."""
    weights: Any
    """The LogisticRegression."""
    strength: float
    """The C that was chosen."""

    def guess(self, texts: Sequence[str]) -> Int64[np.ndarray, "texts"]:
        """The class of each text."""
        return np.asarray(self.weights.predict(self.vectors.transform(texts))).astype(np.int64)


def fit_bag_of_words(
    texts: Sequence[str],
    labels: Int64[np.ndarray, "texts"],
    validation: Sequence[str],
    validation_labels: Int64[np.ndarray, "validation"],
) -> BagOfWords:
    """Fitted on texts and the numbers of their labels; of the values of C that with the most right answers on the
    validation texts, the smallest of equal ones. Raises ValueError where no text has a word, or all have one label."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # slow to import
    from sklearn.linear_model import LogisticRegression

    if is_without_spaces(texts):
        vectors = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True)
    else:
        vectors = TfidfVectorizer(tokenizer=_words, token_pattern=None, ngram_range=(1, 2), sublinear_tf=True)
    found, asked = vectors.fit_transform(texts), vectors.transform(validation)
    tried = [LogisticRegression(C=strength, max_iter=_ROUNDS).fit(found, labels) for strength in STRENGTHS]
    right = [int((one.predict(asked) == validation_labels).sum()) for one in tried]
    best = int(np.argmax(right))
    return BagOfWords(vectors, tried[best], STRENGTHS[best])


def _words(text: str) -> list[str]:
    return [text[begin:end] for begin, end in words_in(text)]
