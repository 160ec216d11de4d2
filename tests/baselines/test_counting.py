"""The lines by counting: on the very questions, from the right contexts."""

import math
from collections import Counter

import numpy as np
import pytest
from tiny_recipe import corpus_of, objective_of, sentences, tokenizer_of
from trained import generator_folder, permuting_folder, run_folder

from glassformer.ask.run import load
from glassformer.baselines.counting import ORDERS, contexts, counting_losses
from glassformer.data.batch import Stream, Targets
from glassformer.errors import UsageError
from glassformer.objectives.causal_lm import CausalLM, CausalLMConfig
from glassformer.objectives.mixture import Mixture, MixtureConfig

IDS = np.array([10, 11, 12, 13, 14, 15])


def asked(*positions: int) -> Targets:
    places = np.array(positions, dtype=np.int64)
    return Targets(places, 100 + places)


def test_from_left_to_right_the_tokens_before_are_seen() -> None:
    """The one at the asked place is the last before the answer."""
    found = contexts(Stream(IDS, causal=True), asked(0, 3), 3, 99)
    assert found.tolist() == [[99, 99, 10, 100], [11, 12, 13, 103]]


def test_of_a_blank_the_neighbours_are_seen() -> None:
    """The nearest last: left, right, then the second ones; what stands at the blank itself is not."""
    found = contexts(Stream(IDS), asked(0, 3), 4, 99)
    assert found.tolist() == [[12, 99, 11, 99, 100], [15, 11, 14, 12, 103]]


def test_around_a_query_stands_the_text() -> None:
    """Where the query's position says; queries are nobody's neighbours."""
    stream = Stream(np.append(IDS, [7, 7]), positions=np.array([0, 1, 2, 3, 4, 5, 5, 2]), n_query_only=2)
    found = contexts(stream, Targets(np.array([6, 7]), np.array([15, 12])), 2, 99)
    assert found.tolist() == [[99, 14, 15], [13, 11, 12]]


def causal() -> tuple[CausalLM, list]:
    """A causal objective and its examples of 60 texts."""
    texts = sentences(60)
    objective = CausalLM(CausalLMConfig(), tokenizer_of(texts), 16)
    units = objective.dataset(corpus_of(texts, objective))
    return objective, [units.example(n, np.random.default_rng(n)) for n in range(len(units))]


def test_uniform_and_unigram_by_hand() -> None:
    """-ln of the share of each target, discounted as the n-gram model does."""
    objective, examples = causal()
    lines = counting_losses(examples, examples, objective)
    targets = [t for example in examples for t in example.targets["causal_lm"].values.tolist()]
    counts = Counter(targets)
    assert lines["uniform"] == pytest.approx(math.log(objective.tokenizer.vocab_size))
    plain = -sum(n * math.log(n / len(targets)) for n in counts.values()) / len(targets)
    assert lines["unigram"] == pytest.approx(plain, abs=0.02)


def test_a_longer_context_helps_only_where_words_depend_on_it() -> None:
    """Random words: no line on held-out texts is far below the unigram one. Words in a circle: the bigram knows all."""
    objective, examples = causal()
    random = counting_losses(examples[:40], examples[40:], objective)
    assert random["bigram"] > random["unigram"] - 0.2
    circle = [" ".join(["sun", "moon", "star", "red", "blue"][(n + k) % 5] for k in range(9)) for n in range(50)]
    units = objective.dataset(corpus_of(circle, objective))
    examples = [units.example(n, np.random.default_rng(n)) for n in range(50)]
    lines = counting_losses(examples, examples, objective)
    assert lines["bigram"] < 0.5 < lines["unigram"]
    assert set(lines) == {"uniform", *ORDERS}


@pytest.mark.parametrize("folder", [run_folder, generator_folder, permuting_folder])
def test_any_run_has_them(folder) -> None:
    """On the questions that `evaluate` asks: as many, and the unigram line near that of the training."""
    run = load(folder())
    lines = run.reference_losses()
    assert all(math.isfinite(loss) for loss in lines.values())
    assert lines["unigram"] < lines["uniform"] + 1
    recorded = run.metrics()[0]["references"]
    assert lines["uniform"] == pytest.approx(recorded["uniform"], rel=1e-4)
    assert lines["unigram"] == pytest.approx(recorded["unigram"], abs=0.4)


def test_a_mixture_has_none() -> None:
    """It says so, and what to do."""
    objective = Mixture(MixtureConfig(), tokenizer_of(sentences(20)), 16)
    with pytest.raises(UsageError, match="mixture"):
        counting_losses([], [], objective)
    assert len(objective_of(sentences(20)).members) == 1
