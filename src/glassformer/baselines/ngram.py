"""An interpolated n-gram model (Kneser and Ney 1995; in the form of Chen and Goodman 1998, section 2.7): what counting
can do, so that one sees what a Transformer adds.

p(w | h) = max(c(h w) - D, 0) / c(h .)  +  D N(h .) / c(h .)  p(w | h without its first word)

c counts how often words follow, in all orders but the highest in how many different contexts they do; N(h .) is how
many different words follow h; D is one discount for each order, n1 / (n1 + 2 n2), n1 and n2 being how many are counted
once and twice.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int64


def rows_of(ids: Int64[np.ndarray, "n"], order: int, before: int) -> Int64[np.ndarray, "n order"]:
    """Each token of a text behind the order - 1 tokens before it; where there are none yet, `before` stands."""
    padded = np.concatenate([np.full(order - 1, before, dtype=np.int64), ids])
    return np.lib.stride_tricks.sliding_window_view(padded, order)


class Order(NamedTuple):
    """What is known of n-grams of one length: of each context by its number, and of each n-gram by its key."""

    contexts: Int64[np.ndarray, "contexts"]
    """Keys of the contexts, sorted: the word that a context has more than the one before, and that one's number."""
    grams: Int64[np.ndarray, "grams"]
    """Keys of the n-grams, sorted: number of the context, and word."""
    counts: Float[np.ndarray, "grams"]
    totals: Float[np.ndarray, "contexts"]
    different: Float[np.ndarray, "contexts"]
    discount: float


class NGram:
    """Counts of the rows of `rows_of`, or of any rows of a context and a word. Words are 0 to vocab_size - 1; a context
    may also hold vocab_size, for a place before the text."""

    def __init__(self, rows: Int64[np.ndarray, "n order"], vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self.length = rows.shape[1]
        words = rows[:, -1]
        numbers = np.zeros(len(rows), dtype=np.int64)  # of each row's context; the empty one first
        known: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
        for n in range(1, self.length + 1):
            contexts = np.zeros(1, dtype=np.int64)
            if n > 1:
                contexts, numbers = np.unique(self._longer(numbers, rows[:, -n]), return_inverse=True)
            grams, first, which, counts = np.unique(
                numbers * vocab_size + words, return_index=True, return_inverse=True, return_counts=True
            )
            if known:  # a shorter n-gram counts once for each of the longer ones that it ends
                shorter_grams, shorter_which, _, shorter_contexts = known[-1]
                continuations = np.bincount(shorter_which[first], minlength=len(shorter_grams))
                known[-1] = (shorter_grams, shorter_which, continuations, shorter_contexts)
            known.append((grams, which, counts, contexts))
        self.orders = [self._order(grams, counts, contexts) for grams, _, counts, contexts in known]

    def _longer(self, numbers: Int64[np.ndarray, "n"], words: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
        """Keys of contexts that have one more word in front."""
        return numbers * (self.vocab_size + 1) + words

    def _order(
        self, grams: Int64[np.ndarray, "g"], counts: Int64[np.ndarray, "g"], contexts: Int64[np.ndarray, "c"]
    ) -> Order:
        where = grams // self.vocab_size
        once, twice = (int((counts == n).sum()) for n in (1, 2))
        return Order(
            contexts,
            grams,
            counts.astype(np.float64),
            np.bincount(where, weights=counts, minlength=len(contexts)),
            np.bincount(where, minlength=len(contexts)).astype(np.float64),
            once / (once + 2 * twice) if once else 0.5,
        )

    def probabilities(self, rows: Int64[np.ndarray, "m order"]) -> Float[np.ndarray, "m"]:
        """The probability of each row's last word behind the others. For a context, those of all words add up to 1."""
        found = np.full(len(rows), 1 / self.vocab_size)
        numbers, seen = np.zeros(len(rows), dtype=np.int64), np.ones(len(rows), dtype=bool)
        for n, order in enumerate(self.orders, start=1):
            if n > 1:
                numbers, known = _find(order.contexts, self._longer(numbers, rows[:, -n]))
                seen &= known
            place, known = _find(order.grams, numbers * self.vocab_size + rows[:, -1])
            counts = np.where(known, order.counts[place], 0.0)
            total = order.totals[numbers]
            kept = np.maximum(counts - order.discount, 0) / total
            passed_on = order.discount * order.different[numbers] / total
            found = np.where(seen, kept + passed_on * found, found)
        return found


def _find(keys: Int64[np.ndarray, "k"], wanted: Int64[np.ndarray, "m"]) -> tuple[np.ndarray, np.ndarray]:
    """Where each of the wanted lies among the sorted keys, and whether it is there (else any place)."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return place, keys[place] == wanted
