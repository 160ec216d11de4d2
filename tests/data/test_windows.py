"""Windows as arrays are those of plain loops."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.data.corpus import Corpus
from glassformer.data.windows import DocumentWindows, SentenceRuns, all_pieces

LENGTHS = st.lists(st.integers(0, 30), min_size=1, max_size=12).filter(any)


def corpus_of(lengths: list[int], sentences: list[int]) -> Corpus:
    """Documents of these lengths, the tokens numbered; sentences begin with documents and at some other places."""
    n, starts = sum(lengths), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    begins = np.zeros(n, dtype=bool)
    begins[starts[:-1][np.array(lengths) > 0]] = True
    begins[[place for place in sentences if place < n]] = True
    return Corpus(np.arange(n, dtype=np.uint16), np.ones(n, dtype=bool), starts, n, 0, starts_sentence=begins)


@settings(deadline=None)
@given(lengths=LENGTHS, room=st.integers(1, 13))
def test_pieces_are_few_and_nearly_equal(lengths: list[int], room: int) -> None:
    found = all_pieces(np.array(lengths), room).T.tolist()
    slow = []
    for text, length in enumerate(lengths):
        number = -(-length // room)
        slow += [[text, length * i // number, length * (i + 1) // number] for i in range(number)]
    assert found == slow
    assert all(0 < end - begin <= room for _, begin, end in found)
    windows = DocumentWindows(corpus_of(lengths, []), room)
    assert [w for i in range(len(slow)) for w in windows[i][0].tolist()] == list(range(sum(lengths)))
    assert windows.lengths.tolist() == [end - begin for _, begin, end in slow]


@settings(deadline=None)
@given(lengths=LENGTHS, sentences=st.lists(st.integers(0, 300), max_size=40), room=st.integers(4, 13))
def test_runs_are_those_of_a_plain_loop(lengths: list[int], sentences: list[int], room: int) -> None:
    corpus = corpus_of(lengths, sentences)
    runs = SentenceRuns(corpus, room)
    assert corpus.starts_sentence is not None
    begins = [*np.flatnonzero(corpus.starts_sentence).tolist(), corpus.n_tokens]
    starts = []
    for a, b in pairwise(begins):
        number = -(-(b - a) // (room // 2))
        starts += [a + (b - a) * i // number for i in range(number)]
    starts.append(corpus.n_tokens)
    expected, documents = [], []
    for document, (begin, end) in enumerate(pairwise(corpus.document_starts.tolist())):
        at, last = starts.index(begin), starts.index(end)
        first = at
        while at < last:
            stop = at
            while stop < last and starts[stop + 1] - starts[at] <= room:
                stop += 1
            expected.append([at - 1 if stop - at == 1 and at > first else at, stop])
            documents.append(document)
            at = stop
    assert (runs.starts.tolist(), runs.runs.tolist(), runs.documents.tolist()) == (starts, expected, documents)
