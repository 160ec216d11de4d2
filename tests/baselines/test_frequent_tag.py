"""The most frequent tag of each word, by hand."""

import pytest

from glassformer.baselines.frequent_tag import FrequentTag

SENTENCES = [
    (["mars", "is", "red"], ["NOUN", "VERB", "ADJ"]),
    (["mars", "is", "near"], ["NOUN", "AUX", "ADV"]),
    (["is", "mars", "far"], ["AUX", "NOUN", "ADV"]),
]


def test_each_word_has_the_tag_that_it_most_often_has():
    line = FrequentTag(SENTENCES)
    assert line.guess(["is", "mars", "red"]) == ["AUX", "NOUN", "ADJ"]


def test_an_unknown_word_has_the_tag_that_is_usual_among_words_that_stand_once():
    """red ADJ, near ADV, far ADV; of all words it would be NOUN."""
    assert FrequentTag(SENTENCES).guess(["pluto"]) == ["ADV"]
    assert FrequentTag([(["a", "a", "b", "b", "b"], ["X", "X", "Y", "Y", "Y"])]).guess(["c"]) == ["Y"]


def test_without_a_word_there_is_nothing_to_count():
    with pytest.raises(ValueError, match="no word"):
        FrequentTag([])
