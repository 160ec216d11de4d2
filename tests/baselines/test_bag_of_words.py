"""The lines that a classifier must beat: words without their order, and the most frequent class."""

import numpy as np
import pytest

from glassformer.baselines import bag_of_words
from glassformer.baselines.bag_of_words import STRENGTHS, fit_bag_of_words
from glassformer.baselines.majority import majority
from glassformer.data.builtin import labelled_sentences

TEXTS = ["a fine film", "a dull film", "fine and moving", "dull and long", "not fine", "not dull"] * 3
LABELS = np.array([1, 0, 1, 0, 0, 1] * 3)


def test_it_learns_words_and_pairs_of_them() -> None:
    """`not fine` is no praise, which single words cannot say."""
    bag = fit_bag_of_words(TEXTS, LABELS, TEXTS, LABELS)
    assert bag.guess(["a fine book", "DULL", "it is not fine"]).tolist() == [1, 0, 0]
    assert {"not fine", "fine", "a"} <= set(bag.vectors.get_feature_names_out())


def test_it_is_above_chance_on_other_texts() -> None:
    rows = labelled_sentences("builtin:facts/train")
    names = sorted({label for _, label in rows})
    texts, labels = [text for text, _ in rows], np.array([names.index(label) for _, label in rows])
    held_out = np.arange(len(rows)) % 5 == 0
    chosen = [np.flatnonzero(part) for part in (~held_out, held_out)]
    parts = [([texts[n] for n in part], labels[part]) for part in chosen]
    right = (fit_bag_of_words(*parts[0], *parts[1]).guess(parts[1][0]) == parts[1][1]).mean()
    lowest = (majority(parts[0][1], len(parts[1][1])) == parts[1][1]).mean()
    assert right > 0.6 > lowest


def test_how_strongly_it_is_held_back_is_chosen_on_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what each strength alone comes to there; of equal ones the smallest."""
    rng = np.random.default_rng(3)
    texts = [" ".join(f"w{word}" for word in rng.integers(0, 60, 8)) for _ in range(240)]
    labels = np.array([("w1 " in f"{text} ") != (rng.random() < 0.2) for text in texts]).astype(np.int64)
    parts = texts[:160], labels[:160], texts[160:], labels[160:]
    chosen, right = fit_bag_of_words(*parts).strength, {}
    for strength in STRENGTHS:
        monkeypatch.setattr(bag_of_words, "STRENGTHS", (strength,))
        right[strength] = int((fit_bag_of_words(*parts).guess(parts[2]) == parts[3]).sum())
    assert len(set(right.values())) > 1, "else nothing is chosen"
    assert chosen == min(strength for strength in STRENGTHS if right[strength] == max(right.values()))


def test_a_script_without_spaces_is_read_by_characters() -> None:
    texts, labels = ["我喜欢这部电影", "这部电影很无聊", "我喜欢", "很无聊"], np.array([1, 0, 1, 0])
    bag = fit_bag_of_words(texts, labels, texts, labels)
    assert bag.guess(["他喜欢这本书", "这本书很无聊"]).tolist() == [1, 0]


def test_marks_stay_with_their_letters() -> None:
    """The word pattern of scikit-learn would cut हिन्दी at its vowel signs."""
    texts, labels = ["हिन्दी भाषा", "अच्छा दिन"], np.array([0, 1])
    assert "हिन्दी" in fit_bag_of_words(texts, labels, texts, labels).vectors.get_feature_names_out()


def test_texts_without_a_word_cannot_be_learned() -> None:
    with pytest.raises(ValueError, match="empty vocabulary"):
        fit_bag_of_words(["...", "!"], np.array([0, 1]), ["?"], np.array([0]))


def test_the_majority_is_the_most_frequent_class() -> None:
    assert majority(np.array([2, 0, 2, 1]), 3).tolist() == [2, 2, 2]
    assert majority(np.array([1, 0]), 1).tolist() == [0], "the first of equal ones"
