"""Counting: probabilities that add up, equal to the formula written out, and better with more context."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.baselines.ngram import NGram, rows_of
from glassformer.data.builtin import sentences

VOCABULARY = 5


def by_the_formula(ids: list[int], order: int):
    """Kneser and Ney's formula with dictionaries, one n-gram at a time."""
    padded = [VOCABULARY] * (order - 1) + ids
    grams = [tuple(padded[i : i + order]) for i in range(len(ids))]
    counts: list[dict] = [defaultdict(int) for _ in range(order + 1)]
    for gram in grams:
        counts[order][gram] += 1
    for n in range(order - 1, 0, -1):
        for gram in {gram[-n - 1 :] for gram in grams}:
            counts[n][gram[1:]] += 1
    discounts = [0.0] * (order + 1)
    for n in range(1, order + 1):
        once, twice = (sum(c == k for c in counts[n].values()) for k in (1, 2))
        discounts[n] = once / (once + 2 * twice) if once else 0.5

    def probability(context: tuple, word: int) -> float:
        n = len(context) + 1
        lower = probability(context[1:], word) if n > 1 else 1 / VOCABULARY
        followers = {gram[-1]: c for gram, c in counts[n].items() if gram[:-1] == context}
        if not followers:
            return lower
        total, discount = sum(followers.values()), discounts[n]
        return max(followers.get(word, 0) - discount, 0) / total + discount * len(followers) / total * lower

    return probability


texts = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=40)


@settings(max_examples=60)
@given(texts, texts, st.integers(1, 4))
def test_it_is_the_formula(ids: list[int], others: list[int], order: int) -> None:
    model = NGram(rows_of(np.array(ids), order, VOCABULARY), VOCABULARY)
    rows = rows_of(np.array(others), order, VOCABULARY)
    right = by_the_formula(ids, order)
    expected = [right(tuple(row[:-1]), row[-1]) for row in rows.tolist()]
    np.testing.assert_allclose(model.probabilities(rows), expected, rtol=1e-10)


@given(texts, st.integers(1, 4), st.lists(st.integers(0, VOCABULARY), min_size=3, max_size=3))
def test_for_any_context_they_add_up(ids: list[int], order: int, context: list[int]) -> None:
    """Also for contexts that were never seen."""
    model = NGram(rows_of(np.array(ids), order, VOCABULARY), VOCABULARY)
    rows = np.array([[*context[: order - 1], word] for word in range(VOCABULARY)])
    found = model.probabilities(rows)
    assert found.min() > 0 and found.sum() == pytest.approx(1)


def test_context_helps_on_real_sentences() -> None:
    """On held-out facts each order up to three is better than the one before."""
    words: dict[str, int] = {}
    parts = []
    for part in ("train", "heldout"):
        texts = " . ".join(sentences("facts", part)).lower().split()
        parts.append(np.array([words.setdefault(word, len(words)) for word in texts]))
    losses = []
    for order in (1, 2, 3):
        model = NGram(rows_of(parts[0], order, len(words)), len(words))
        losses.append(-np.log(model.probabilities(rows_of(parts[1], order, len(words)))).mean())
    assert losses[0] > losses[1] + 0.5 and losses[1] > losses[2]
