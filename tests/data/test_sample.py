"""A sample is bounded, the same every time, and drawn from all of the text."""

import numpy as np

from glassformer.data.sample import sample_of


def test_a_small_text_is_its_own_sample() -> None:
    texts = ["a b", "", "c"]
    sample = sample_of(texts, limit=4)
    assert (sample.texts, str(sample)) == (texts, "")


def test_a_sample_is_bounded_and_the_same_every_time() -> None:
    texts = [f"text {n:06}" * (1 + n % 3) for n in range(5000)]
    sample = sample_of(iter(texts), limit=20_000)
    assert 19_900 < sample.characters == sum(map(len, sample.texts)) <= 20_000
    assert sample.of == sum(map(len, texts))
    assert sample == sample_of(texts, limit=20_000)
    assert str(sample) == " on a sample of 0.02 of 0.11 million characters, drawn from all of the text"


def test_a_sample_is_drawn_from_all_of_the_text() -> None:
    """Each tenth has its share (five standard deviations of a binomial draw), in the order of the text."""
    texts = [f"{n:06}" for n in range(20_000)]
    numbers = np.array([int(text) for text in sample_of(texts, limit=6 * 2000).texts])
    assert (np.diff(numbers) > 0).all()
    shares = np.bincount(numbers // 2000, minlength=10)
    assert (abs(shares - 200) < 5 * np.sqrt(2000 * 0.1 * 0.9)).all()


def test_of_one_long_text_parts_are_drawn_from_everywhere() -> None:
    text = " ".join(f"{n:07}" for n in range(200_000))  # 1.6 million characters
    sample = sample_of([text], limit=400_000)
    assert 350_000 < sample.characters <= 400_000
    first_words = np.array([int(part.split()[0]) for part in sample.texts])
    assert first_words.min() < 40_000 and first_words.max() > 160_000
