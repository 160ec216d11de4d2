"""Descriptions of heads against numbers computed by hand. Each score is seen at both ends: 1 for a head that follows
the pattern, the baseline for a uniform one."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Annotation
from trained import answering_folder, generator_folder, permuting_folder, run_folder

from glassformer import views
from glassformer.ask.run import Run, load
from glassformer.data.batch import Stream
from glassformer.errors import UsageError
from glassformer.look.measures import heads
from glassformer.look.measures.heads import (
    Seen,
    chain,
    describe,
    divergence,
    entropy,
    facts,
    facts_of,
    habit_of,
    ordered,
    seen,
    seen_of,
    visible_pairs,
)
from glassformer.look.views.heads import view_of

TOKENS = ["[CLS]", "a", "b", "a", "b", "[SEP]"]
N = len(TOKENS)


def heads_of(*rows: list[int], keys: int = N) -> np.ndarray:
    """One layer; each head looks from each query at one key only, -1: at all alike."""
    return np.array([[[np.eye(keys)[key] if key >= 0 else np.full(keys, 1 / keys) for key in head] for head in rows]])


UNIFORM = [-1] * N
BEFORE = [-1, 0, 1, 2, 3, 4]
AFTER = [1, 2, 3, 4, 5, -1]
FIRST = [-1, 0, 0, 0, 0, 0]
SEPARATOR = [5, 5, 5, 5, 5, 5]
SAME = [-1, 3, 4, 1, 2, -1]
ITSELF = [0, 1, 2, 3, 4, 5]
COLUMN = [3, 3, 3, 3, 3, 3]
HEADS = {"previous": BEFORE, "next": AFTER, "first": FIRST, "separator": SEPARATOR, "same": SAME, "itself": ITSELF}
HEADS |= {"column": COLUMN, "broad": UNIFORM}
UNIFORM_SCORES = dict.fromkeys(HEADS, 1 / N) | {"broad": 1.0}


def score(found: Any, pattern: str, head: int) -> float:
    return float(found.scores[found.patterns.index(pattern), 0, head])


# ------------------------------------------------------------------------------------------------- the patterns


@pytest.mark.parametrize("pattern", HEADS)
def test_a_perfect_head_scores_1_and_a_uniform_one_its_baseline(pattern: str) -> None:
    found = describe(heads_of(HEADS[pattern], UNIFORM), TOKENS)
    assert score(found, pattern, 0) == pytest.approx(1.0)
    assert score(found, pattern, 1) == pytest.approx(UNIFORM_SCORES[pattern])
    assert found.uniform[found.patterns.index(pattern)] == pytest.approx(UNIFORM_SCORES[pattern])


def test_a_perfect_head_of_one_pattern_scores_little_on_the_others() -> None:
    found = describe(heads_of(*HEADS.values()), TOKENS)
    assert found.patterns == tuple(HEADS)
    own = np.eye(len(HEADS), dtype=bool)
    own[:, list(HEADS).index("same")] = True  # it is uniform where there is no other such word: also broad
    assert (found.scores[:, 0][~own] <= 0.5).all()


def test_the_name_of_each_head_is_its_pattern() -> None:
    heads = {name: rows for name, rows in HEADS.items() if name != "broad"}
    found = describe(heads_of(*heads.values(), UNIFORM, [3, 4, 5, 0, 1, 2]), TOKENS)
    assert found.best == [[*heads, "broad", "other"]]
    assert found.score[0, :-1] == pytest.approx(1.0)
    assert found.baseline[0, :-1] == pytest.approx([1 / N] * 7 + [1.0])
    assert math.isnan(found.score[0, -1])


def test_a_half_perfect_head_is_half_way_from_the_baseline() -> None:
    found = describe((heads_of(BEFORE) + heads_of(UNIFORM)) / 2, TOKENS)
    assert score(found, "previous", 0) == pytest.approx((1 + 1 / N) / 2)


@pytest.mark.parametrize(("share", "name"), [(0.39, "broad"), (0.41, "column")])
def test_one_column_names_a_head_when_it_is_plain(share: float, name: str) -> None:
    """And it is no column where the first token or a separator is what all look at."""
    tokens = ["[CLS]", "a", "b", "c", "d", "[SEP]"]
    for key, called in ((3, name), (0, "first"), (5, "separator")):
        weights = share * heads_of([key] * N) + (1 - share) * heads_of(UNIFORM)
        assert describe(weights, tokens).best == [[called]]


def test_heads_that_look_at_one_key_each_by_chance_are_no_column() -> None:
    """Some key always has more than its share: of 12 rows about three look at the same."""
    rng, size = np.random.default_rng(3), 12
    weights = heads_of(*rng.integers(1, size, (200, size)).tolist(), keys=size)
    found = describe(weights, [f"w{n}" for n in range(size)])
    assert found.scores[found.patterns.index("column")].mean() > 1.5 / size
    assert sum(name == "column" for name in found.best[0]) <= 2


@pytest.mark.parametrize(("weight", "name"), [(0.24, "broad"), (0.26, "previous")])
def test_a_pattern_names_a_head_from_a_quarter_of_the_way_on(weight: float, name: str) -> None:
    tokens = [f"w{n}" for n in range(N)]
    assert describe(weight * heads_of(BEFORE) + (1 - weight) * heads_of(UNIFORM), tokens).best == [[name]]


def test_rows_that_cannot_follow_a_pattern_do_not_count() -> None:
    """`same`: only a and b. Special tokens are not the same word, also where they stand twice."""
    found = describe(heads_of([0, 3, 4, 1, 2, 0]), TOKENS)
    assert score(found, "same", 0) == 1
    assert found.counts.tolist() == [5, 5, 5, 6, 4, 6, 6, 6]
    twice = ["[SEP]", "[MASK]", "[UNK]", "[MASK]", "[UNK]", "[SEP]"]
    assert "same" not in describe(heads_of(UNIFORM), twice).patterns


def test_a_causal_row_is_compared_with_the_keys_up_to_it() -> None:
    """Uniform over the past: 1/2, 1/3, ... The first row has no choice, and nothing comes next."""
    past = np.tril(np.ones((N, N)))
    uniform = (past / past.sum(1, keepdims=True))[None, None]
    found = describe(np.concatenate([uniform, heads_of([0, 0, 1, 2, 3, 4])], 1), TOKENS, causal=True)
    assert found.patterns == ("previous", "first", "separator", "same", "itself", "column", "broad")
    expected = np.mean([1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6])
    assert score(found, "previous", 0) == pytest.approx(expected)
    assert found.uniform[0] == pytest.approx(expected)
    assert score(found, "broad", 0) == pytest.approx(1.0)
    assert score(found, "previous", 1) == 1.0
    assert score(found, "same", 0) == pytest.approx((1 / 4 + 1 / 5) / 2)  # the second a and b see the first
    assert found.rows == N - 1


def test_padding_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(N), size=(2, 3, N))
    padded = np.concatenate([weights, np.zeros((2, 3, N, 2))], 3)
    garbage = rng.dirichlet(np.ones(N + 2), size=(2, 3, 2))
    padded = np.concatenate([padded, garbage], 2)
    for one, other in zip(describe(weights, TOKENS), describe(padded, [*TOKENS, "[PAD]", "[PAD]"]), strict=True):
        if isinstance(one, np.ndarray):
            np.testing.assert_allclose(one, other)
        else:
            assert one == pytest.approx(other) if isinstance(one, float) else one == other


def test_of_cross_attention_only_what_means_something() -> None:
    weights = heads_of([2, 0, 1], [0, 0, 0], [3, 3, 3], [-1] * 3, keys=4)
    found = describe(weights, ["b", "x", "[SEP]"], ["x", "y", "b", "[SEP]"])
    assert found.patterns == ("first", "separator", "same", "column", "broad")
    assert found.best == [["other", "other", "other", "broad"]]  # three rows are too few for a name
    assert found.counts.tolist() == [3, 3, 2, 3, 3]
    twice = describe(np.concatenate([weights] * 4, 2), ["b", "x", "[SEP]"] * 4, ["x", "y", "b", "[SEP]"])
    assert twice.best == [["same", "first", "separator", "broad"]]
    assert np.isnan(found.distance).all()
    assert found.uniform == pytest.approx([1 / 4, 1 / 4, 1 / 4, 1 / 4, 1])


# ------------------------------------------------------------------------------------------ entropy and distance


def test_entropy_in_nats_and_as_a_share() -> None:
    found = describe(heads_of(ITSELF, UNIFORM), TOKENS)
    np.testing.assert_allclose(found.entropy, [[0, math.log(N)]])
    np.testing.assert_allclose(found.entropy_share, [[0, 1]])
    assert found.uniform_entropy == pytest.approx(math.log(N))
    two = np.array([[[[0.5, 0.5, 0.0]] * 3]])
    assert describe(two, ["x", "y", "z"]).entropy_share[0, 0] == pytest.approx(math.log(2) / math.log(3))
    np.testing.assert_allclose(entropy(np.array([[0.25, 0.75]])), [0.25 * math.log(4) + 0.75 * math.log(4 / 3)])


def test_distance_is_weighted_by_attention() -> None:
    found = describe(heads_of([0, 1, 2], [2, 2, 0], [-1] * 3, keys=3), ["x", "y", "z"])
    np.testing.assert_allclose(found.distance, [[0, 5 / 3, 8 / 9]])
    assert found.uniform_distance == pytest.approx(8 / 9)


# -------------------------------------------------------------------------------------------------- similarity


def test_similarity_of_heads() -> None:
    weights = np.array([[[[1.0, 0.0]] * 2, [[0.0, 1.0]] * 2, [[0.5, 0.5]] * 2, [[1.0, 0.0], [0.0, 1.0]]]])
    found = describe(weights, ["x", "y"]).similarity
    half = 1 - (entropy(np.array([[0.75, 0.25]]))[0] / math.log(2) - 0.5)
    expected = [[1, 0, half, 0.5], [0, 1, half, 0.5], [half, half, 1, half], [0.5, 0.5, half, 1]]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_divergence_equals_its_definition() -> None:
    """JSD(p, q) = KL(p | m) / 2 + KL(q | m) / 2, m their mean, in bits."""
    p = np.random.default_rng(1).dirichlet(np.ones(7), size=(2, 2, 5))
    flat = p.reshape(4, 5, 7)

    def kl(a: np.ndarray, b: np.ndarray) -> float:
        return float((a * np.log2(a / b)).sum())

    naive = [[(kl(a, (a + b) / 2) + kl(b, (a + b) / 2)) / 2 for b in flat] for a in flat]
    np.testing.assert_allclose(divergence(p), naive, atol=1e-12)


def test_similar_heads_stand_together() -> None:
    """0 and 2 are nearest; 3 is nearest to 0, 1 to 3."""
    similarity = np.array([[1, 0.1, 0.9, 0.6], [0.1, 1, 0.2, 0.5], [0.9, 0.2, 1, 0.3], [0.6, 0.5, 0.3, 1]])
    assert chain(similarity).tolist() == [1, 3, 0, 2]
    assert chain(np.ones((1, 1))).tolist() == [0]
    assert sorted(chain(np.random.default_rng(2).random((7, 7)))) == list(range(7))


def test_orders() -> None:
    weights = heads_of(UNIFORM, BEFORE, SEPARATOR, ITSELF).reshape(2, 2, N, N)
    found = describe(weights, TOKENS)
    assert ordered(found, "layer").tolist() == [0, 1, 2, 3]
    assert ordered(found, "entropy").tolist() == [2, 3, 1, 0]
    assert ordered(found, "distance").tolist() == [3, 1, 0, 2]
    assert ordered(found, "pattern").tolist() == [1, 2, 3, 0]
    assert sorted(ordered(found, "similarity")) == [0, 1, 2, 3]


# ---------------------------------------------------------------------------------------------- several texts


def test_several_texts_are_one_sum_and_one_count() -> None:
    """Three rows that follow and seven that do not make 0.3, not a mean of means."""
    short, long = ["x", "y", "z", "w"], ["x", *"abcdefg"]
    texts = [
        seen(heads_of([-1, 0, 1, 2], keys=4), short),
        seen(heads_of([0, 1, 2, 3, 4, 5, 6, 7], keys=8), long),
    ]
    found = facts(texts)
    assert score(found, "previous", 0) == pytest.approx(3 / 10)
    assert found.uniform[0] == pytest.approx((3 / 4 + 7 / 8) / 10)
    assert found.rows == 12


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 1, 6, 6\) and 5 queries, 5 keys"):
        describe(heads_of(UNIFORM), TOKENS[:-1])
    with pytest.raises(UsageError, match="no token of the texts has a choice"):
        describe(np.ones((1, 1, 1, 1)), ["x"])


# ------------------------------------------------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def runs() -> dict[str, Run]:
    """One of each family, and one that reads in any order."""
    folders = (run_folder(), generator_folder(), permuting_folder(), answering_folder())
    return dict(zip(FAMILIES, map(load, folders), strict=True))


FAMILIES = ["encoder", "decoder", "any order", "encoder-decoder"]


@pytest.mark.parametrize("family", FAMILIES)
def test_own_units_are_seen_as_the_model_sees_them(runs: dict[str, Run], family: str) -> None:
    """Weights lie where the mask allows, and nowhere else."""
    for text in seen_of(runs[family], number=3):
        assert (text.weights[:, :, ~text.allowed] == 0).all()
        assert (text.weights[:, :, text.allowed] > 0).all()
        np.testing.assert_allclose(text.weights.sum(-1)[:, :, text.allowed.any(1)], 1, atol=1e-5)
    found = facts_of(runs[family], number=3)
    assert found.entropy.shape == found.score.shape == (2, 3)
    assert ("next" in found.patterns) == (family != "decoder")
    assert ((found.scores >= 0) & (found.scores <= 1 + 1e-6)).all()


def test_rows_of_queries_are_compared_by_place(runs: dict[str, Run]) -> None:
    """A permutation model's queries stand behind the text, and belong into it: they never see their own word."""
    [text] = seen_of(runs["any order"], number=1)
    assert text.positions is not None
    assert len(text.queries) > len(text.keys)
    assert (np.diff(text.positions[0]) >= 0).all()
    masks = [n for n, token in enumerate(text.queries) if token == "[MASK]"]
    assert masks
    assert not text.allowed[masks, text.positions[0][masks]].any()


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_are_those_of_the_attention_command(runs: dict[str, Run], family: str) -> None:
    run, text = runs[family], "sun moon sun red"
    seen_here, shown = next(iter(seen_of(run, [text]))), run.attention(text)
    assert isinstance(seen_here, Seen)
    assert seen_here.queries == shown.tokens
    np.testing.assert_array_equal(seen_here.weights, shown.weights)
    alone = describe(shown.weights, shown.tokens, causal=family == "decoder")
    np.testing.assert_allclose(facts_of(run, [text]).scores, alone.scores)


@pytest.mark.parametrize("family", FAMILIES)
def test_of_a_long_text_some_tokens_look(runs: dict[str, Run], family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evenly spread, the first and the last among them; their rows are those of the whole."""
    run, text = runs[family], "sun moon sun red sun"
    whole = next(iter(seen_of(run, [text])))
    monkeypatch.setattr(heads, "PAIRS", 3 * len(whole.keys))
    some = next(iter(seen_of(run, [text])))
    assert whole.sampled is None and some.sampled is not None and len(some.sampled) == 3
    assert some.sampled[0] == 0 and some.sampled[-1] == len(whole.queries) - 1
    assert some.queries == [whole.queries[row] for row in some.sampled] and some.keys == whole.keys
    np.testing.assert_allclose(some.weights, whole.weights[:, :, some.sampled], atol=1e-6)
    np.testing.assert_array_equal(some.allowed, whole.allowed[some.sampled])
    assert some.positions is not None and whole.positions is not None
    np.testing.assert_array_equal(some.positions[0], whole.positions[0][some.sampled])
    assert facts([some]).rows == 3 - (family == "decoder")  # the first token of a causal model has no choice
    view = views.heads(run, [text])
    assert "of this long text 3 tokens look" in view.data["subtitle"]


def test_both_stacks_of_an_encoder_decoder(runs: dict[str, Run]) -> None:
    run = runs["encoder-decoder"]
    assert next(iter(seen_of(run, number=1))).queries[-1] == "[SEP]"
    assert next(iter(seen_of(run, kind="decoder", number=1))).queries[0] == "[CLS]"
    assert "next" not in facts_of(run, kind="decoder").patterns
    across = facts_of(run, ["sun moon"], kind="cross")
    assert set(across.patterns) <= {"first", "separator", "same", "column", "broad"}
    own = list(seen_of(run, kind="cross", number=3))
    assert [text.keys[-1] for text in own] == ["[SEP]"] * 3 and {text.queries[-1] for text in own} == {"(what follows)"}
    assert facts_of(run, kind="cross", number=3).rows == sum(len(text.queries) for text in own)
    with pytest.raises(UsageError, match="it is one stack"):
        facts_of(runs["encoder"], kind="decoder")


def test_a_map_is_named_by_what_it_shows_and_the_head_by_its_habit(monkeypatch: pytest.MonkeyPatch) -> None:
    """One text on which the head looks at one column, and validation units in which it looks at the next token."""
    tokens, after = ["[CLS]", "a", "b", "c", "d", "[SEP]"], heads_of(AFTER, AFTER)
    units = [seen(after, tokens)] * 3
    monkeypatch.setattr(heads, "seen_of", lambda run, texts, kind, number: units[:number])
    run = load(run_folder())
    habit = habit_of(run, number=16)
    assert habit.named.best == [["next", "next"]] and habit.units == 3
    assert habit.named.score == pytest.approx(facts(units).score) and habit.named.baseline == pytest.approx(1 / 6)
    view = view_of([seen(heads_of(COLUMN, AFTER), tokens)], habit=habit)
    [[first, second]] = view.data["facts"]
    assert (first["pattern"], first["habit"], second["pattern"], second["habit"]) == ("column", "next", "next", "next")
    assert view.numbers["here"] == [["column", "next"]] and view.numbers["habit"] == [["next", "next"]]
    assert [(row["pattern"], row["habit"]) for row in view.rows or []][:2] == [("column", "next"), ("next", "next")]
    written = [text.get_text() for text in view.draw().findobj(Annotation)]
    assert written == ["column 1.00 (0.17)", "habit: next 1.00 (0.17)", "next 1.00 (0.17)", "habit: next 1.00 (0.17)"]


def test_several_texts_have_one_name_and_the_map_that_is_shown_its_own(runs: dict[str, Run]) -> None:
    tokens = ["[CLS]", "a", "b", "c", "d", "[SEP]"]
    read = [seen(heads_of(ITSELF), tokens), *[seen(heads_of(AFTER), tokens)] * 9]
    view = view_of(read)
    assert view.numbers["best"] == [["next"]] and view.numbers["here"] == [["itself"]]
    assert "habit" not in view.numbers and view.data["habit_units"] is None
    own = views.heads(runs["encoder"], number=3)
    assert own.numbers["habit"] == own.numbers["best"] == facts_of(runs["encoder"], number=3).best
    assert own.rows is not None and "habit" not in own.rows[0]  # the table is that of the habit itself


def test_without_the_data_there_is_no_habit_and_it_is_said(tmp_path: Path) -> None:
    run = load(run_folder()).with_data([f"data.validation={tmp_path / 'gone.txt'}"])
    view = views.heads(run, ["sun moon sun red"])
    assert view.note is not None and "no habit of the heads is known" in view.note and "gone.txt" in view.note
    assert "habit" not in view.numbers and view.draw() is not None


def test_pairs_that_a_stream_allows() -> None:
    ids = np.arange(3)
    assert visible_pairs(Stream(ids)).all()
    np.testing.assert_array_equal(visible_pairs(Stream(ids, causal=True)), np.tril(np.ones((3, 3), bool)))
    own = np.array([[True, False], [True, True], [False, True]])
    np.testing.assert_array_equal(visible_pairs(Stream(ids, n_query_only=1, pair_mask=own)), own)
    assert not visible_pairs(Stream(ids, positions=np.array([1, 0, 2]), causal=True))[1, 0]
