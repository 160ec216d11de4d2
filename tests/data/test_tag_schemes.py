"""Schemes of tags say the same names, and are read as one of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.scheme import IOB1, IOB2, IOBES, Entities

from glassformer.data.tag_schemes import as_iob2, entities_in, faults, is_of_names, scheme_of

NAMES = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3), st.sampled_from(["PER", "LOC"])), max_size=5)
"""Of each name the words before it, its own words, and its kind."""


def tags_of(names: list[tuple[int, int, str]], scheme: str) -> list[str]:
    """The tags of a sentence in a scheme, by its definition."""
    tags: list[str] = []
    for gap, length, kind in names:
        tags += ["O"] * gap
        follows = bool(tags) and tags[-1][2:] == kind
        if scheme == "bioes":
            tags += [f"S-{kind}"] if length == 1 else [f"B-{kind}", *[f"I-{kind}"] * (length - 2), f"E-{kind}"]
        elif scheme == "iob1":
            tags += [f"{'B' if follows else 'I'}-{kind}", *[f"I-{kind}"] * (length - 1)]
        else:
            tags += [f"B-{kind}", *[f"I-{kind}"] * (length - 1)]
    return [*tags, "O"]


@given(names=NAMES, scheme=st.sampled_from(["iob1", "iob2", "bioes"]))
def test_every_scheme_is_read_as_the_same_names(names, scheme):
    tags = as_iob2(tags_of(names, scheme), scheme)
    assert tags == tags_of(names, "iob2")
    assert faults(tags) == []
    found = entities_in(tags)
    assert [(b - a, kind) for a, b, kind in found] == [(length, kind) for _, length, kind in names]


@given(names=NAMES, scheme=st.sampled_from([("iob1", IOB1), ("iob2", IOB2), ("bioes", IOBES)]))
def test_names_are_those_that_seqeval_finds(names, scheme):
    name, theirs = scheme
    tags = tags_of(names, name)
    found = [entity.to_tuple()[1:] for entity in Entities([tags], scheme=theirs).entities[0]]
    assert sorted((kind, a, b) for a, b, kind in entities_in(as_iob2(tags, name))) == sorted(found)


TAGS = st.lists(st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]), max_size=12)


@given(tags=TAGS)
def test_strict_names_are_those_of_seqeval_for_any_tags(tags):
    found = [entity.to_tuple()[1:] for entity in Entities([tags], scheme=IOB2).entities[0]]
    assert [(kind, a, b) for a, b, kind in entities_in(tags)] == found


@given(tags=TAGS)
def test_lenient_names_are_the_strict_ones_of_mended_tags(tags):
    assert entities_in(tags, strict=False) == entities_in(as_iob2(tags, "iob2"))


def test_an_i_that_goes_on_with_nothing_is_no_name_and_where_one_is_wanted_begins_one():
    tags = ["O", "I-PER", "B-LOC", "I-PER"]
    assert faults(tags) == [1, 3]
    assert entities_in(tags) == [(2, 3, "LOC")]
    assert entities_in(tags, strict=False) == [(1, 2, "PER"), (2, 3, "LOC"), (3, 4, "PER")]


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        (["B-PER", "I-PER", "O", "B-LOC"], "iob2"),
        (["I-PER", "I-PER", "O", "I-LOC", "B-LOC"], "iob1"),
        (["S-PER", "O", "B-LOC", "E-LOC"], "bioes"),
        (["U-PER", "O", "B-LOC", "L-LOC"], "bioes"),
        (["NOUN", "VERB"], "none"),
        (["O", "O"], "none"),
        (["B-PER", "O"] * 9 + ["I-LOC"], "iob2"),
    ],
)
def test_the_scheme_is_found(tags, scheme):
    assert scheme_of([tags]) == scheme
    assert scheme_of([["O"], tags]) == scheme


def test_tags_that_are_no_names_stay_as_they_are():
    assert as_iob2(["I-tag", "NOUN"], "none") == ["I-tag", "NOUN"]
    assert not is_of_names(["O", "INTJ"]) and is_of_names(["O", "I-X"])


def test_behind_the_end_of_a_name_another_one_begins_though_its_beginning_is_not_marked():
    tags = ["B-PER", "E-PER", "I-PER", "S-LOC", "I-LOC"]
    assert as_iob2(tags, "bioes") == ["B-PER", "I-PER", "B-PER", "B-LOC", "B-LOC"]
