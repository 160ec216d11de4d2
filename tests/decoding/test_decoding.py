"""Generation, held against searching everything, against going through every text anew, and against definitions."""

import math

import numpy as np
import pytest
import torch

from glassformer.data.batch import IGNORE_INDEX, Example, OutputSpec, Stream, Targets, collate
from glassformer.decoding import DecodingConfig, Generated, Prompts, check_decoding
from glassformer.decoding.beam import beam_search
from glassformer.decoding.sampling import choose, min_p, repeated_less, sample, stream, top_k, top_p
from glassformer.errors import UsageError
from glassformer.model.config import ModelConfig
from glassformer.model.decoding_state import DecodingState
from glassformer.model.kinds.transformer import Transformer

VOCAB, END = 5, 4
HEAD = OutputSpec("tokens", VOCAB)
FAMILIES = ("decoder", "encoder_decoder")


def make(family: str = "decoder", seed: int = 1, max_length: int = 13) -> Transformer:
    """Random weights that are large enough for clear opinions, in double."""
    config = ModelConfig(
        family=family, n_layers=2, d_model=12, n_heads=2, d_ff=7, max_length=max_length, dropout=0.0, tied=False
    )
    model = Transformer(config, VOCAB, [HEAD]).double().eval()
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data = 0.7 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model


def prompts_of(model: Transformer, *starts: list[int]) -> Prompts:
    """Beginnings of texts; an encoder reads each of them backwards."""
    asked = {"tokens": Targets(np.array([0]), np.array([IGNORE_INDEX]), "decoder")}
    made = []
    for start in starts:
        streams = {"decoder": Stream(np.array(start), causal=True)}
        if model.config.family == "encoder_decoder":
            streams = {"encoder": Stream(np.array([1, *reversed(start)])), **streams}
        made.append(Example(streams, asked))
    return Prompts(made, "decoder", "tokens", [frozenset({END})] * len(made), model.config.max_length, 0)


@torch.no_grad()
def next_log_probabilities(model: Transformer, prompts: Prompts, row: int, ids: list[int]) -> torch.Tensor:
    """Of the token after a prompt and some more tokens: the slow way, one pass over the whole text for each token."""
    start = prompts.start(row)
    streams = {"decoder": Stream(np.array(start + ids), causal=True)}
    if model.config.family == "encoder_decoder":
        streams = {"encoder": Stream(np.array([1, *reversed(start)])), **streams}
    place = Targets(np.array([len(start) + len(ids) - 1]), np.array([0]), "decoder")
    return model(collate([[Example(streams, {"tokens": place})]], 0))["tokens"][0].log_softmax(-1)


def every_text(model: Transformer, prompts: Prompts, row: int, length: int) -> list[Generated]:
    """All texts of up to `length` tokens, with their log-probabilities."""
    texts, growing = [], [([], 0.0)]
    for step in range(length):
        grown = []
        for ids, total in growing:
            scores = next_log_probabilities(model, prompts, row, ids)
            for token in range(VOCAB):
                text = ([*ids, token], total + float(scores[token]))
                if token == END or step == length - 1:
                    texts.append(Generated(*text, finished=token == END))
                else:
                    grown.append(text)
        growing = grown
    return texts


def value(text: Generated, penalty: float) -> float:
    return text.log_probability / len(text.ids) ** penalty


# ------------------------------------------------------------------------------------------------------ beam search


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_beam_as_wide_as_all_texts_finds_the_best(family, penalty):
    """Against searching everything, for prompts of different length; the n best in order, with their scores."""
    model = make(family)
    prompts = prompts_of(model, [1], [2, 3, 1])
    found = beam_search(model, prompts, DecodingConfig(beam=4**3, max_tokens=4, length_penalty=penalty, number=5))
    for row, texts in enumerate(found):
        everything = sorted(every_text(model, prompts, row, 4), key=lambda text: -value(text, penalty))
        assert [text.ids for text in texts] == [text.ids for text in everything[:5]]
        for text, expected in zip(texts, everything, strict=False):
            assert text.log_probability == pytest.approx(expected.log_probability, abs=1e-9)
            assert text.finished == expected.finished


def test_a_case_in_which_greedy_beam_and_everything_differ():
    """A wider search finds a better text here, so that nothing above holds by chance."""
    for seed in range(1, 200):
        model = make(seed=seed)
        prompts = prompts_of(model, [1])
        found = [
            beam_search(model, prompts, DecodingConfig(beam=beam, max_tokens=4, length_penalty=0.0))[0][0]
            for beam in (1, 2, 4**3)
        ]
        if len({tuple(text.ids) for text in found}) == 3:
            everything = max(every_text(model, prompts, 0, 4), key=lambda text: value(text, 0.0))
            assert found[2].ids == everything.ids
            assert found[0].log_probability < found[1].log_probability < found[2].log_probability
            return
    pytest.fail("no such case in 200 models")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_beam_of_one_is_greedy(family, seed):
    """Until the first end: greedy stops there, and so does a search that keeps one text."""
    model = make(family, seed)
    prompts = prompts_of(model, [1], [2, 3, 1], [3, 3])
    config = DecodingConfig(max_tokens=8, length_penalty=0.0)
    assert [[t.ids for t in texts] for texts in beam_search(model, prompts, config)] == [
        [t.ids for t in texts] for texts in sample(model, prompts, config)
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_beam_says_of_its_texts_is_what_they_are_worth(family, monkeypatch):
    """Beams change places, and what they have in common is not copied: each text's probability is still that of going
    through it anew. Some texts end before others."""
    spared, reorder = set(), DecodingState.reorder

    def told(state: DecodingState, rows: torch.Tensor, alike: int) -> None:
        spared.add(alike)
        reorder(state, rows, alike)

    monkeypatch.setattr(DecodingState, "reorder", told)
    lengths = set()
    for seed in range(1, 7):
        model = make(family, seed, max_length=30)
        begun = prompts_of(model, [1, 2, 3, 1], [2])
        for row, texts in enumerate(beam_search(model, begun, DecodingConfig(beam=2, number=2, max_tokens=20))):
            for text in texts:
                worth = sum(
                    float(next_log_probabilities(model, begun, row, text.ids[:n])[id]) for n, id in enumerate(text.ids)
                )
                assert text.log_probability == pytest.approx(worth, abs=1e-9)
                lengths.add(len(text.ids))
    assert len(lengths) > 2 and max(spared) > 8  # of 20 tokens behind a prompt of 4


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_together_are_as_each_alone(family):
    """Others in the batch, that end sooner or later, change nothing; nor do much longer ones, which are read apart."""
    model, starts = make(family), [[1], [2, 3, 1, 2, 2, 1, 3, 1], [3, 3], [1, 2], [3, 1, 3, 1, 2, 3, 1]]
    assert prompts_of(model, *starts).alike() == [[0, 2, 3], [1, 4]]
    for config in (DecodingConfig(beam=3, number=3, max_tokens=7), DecodingConfig(max_tokens=7)):
        search = beam_search if config.beam > 1 else sample
        together = search(model, prompts_of(model, *starts), config)
        for start, texts in zip(starts, together, strict=True):
            [alone] = search(model, prompts_of(model, start), config)
            assert [text.ids for text in texts] == [text.ids for text in alone]
            for one, other in zip(texts, alone, strict=True):
                assert one.log_probability == pytest.approx(other.log_probability, abs=1e-9)


@pytest.mark.parametrize("config", [DecodingConfig(max_tokens=7), DecodingConfig(beam=3, number=3, max_tokens=7)])
def test_each_prompt_has_ends_of_its_own(config):
    """What ends one text does not end another; a prompt's own texts are ended as when it is alone."""
    model = make()
    search = beam_search if config.beam > 1 else sample
    prompts = prompts_of(model, [1], [1], [3, 3])
    ends = [frozenset({END}), frozenset({END, 2}), frozenset({3})]
    together = search(model, prompts._replace(stop_tokens=ends), config)
    for row, texts in enumerate(together):
        only = Prompts([prompts.examples[row]], *prompts[1:3], [ends[row]], *prompts[4:])
        assert [text.ids for text in texts] == [text.ids for text in search(model, only, config)[0]]
        for text in texts:
            assert text.finished == (text.ids[-1] in ends[row]) and not ends[row] & {*text.ids[:-1]}
    assert together[0] != together[1]


# ------------------------------------------------------------------------------------------------ greedy, sampling


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_takes_the_likeliest_of_the_slow_way(family):
    """Token by token against one pass over the whole text for each; it ends at an end, or where there is no room."""
    model = make(family)
    prompts = prompts_of(model, [1], [2, 3, 1], [3] * 12)
    for row, [text] in enumerate(sample(model, prompts, DecodingConfig(max_tokens=6))):
        total = 0.0
        for n, token in enumerate(text.ids):
            scores = next_log_probabilities(model, prompts, row, text.ids[:n])
            assert token == int(scores.argmax())
            total += float(scores[token])
        assert text.log_probability == pytest.approx(total, abs=1e-9)
        room = min(6, 13 - len(prompts.start(row)) + 1)
        assert text.ids[-1] == END or len(text.ids) == room
        assert text.finished == (text.ids[-1] == END) and END not in text.ids[:-1]


def test_sampled_tokens_have_the_models_probabilities():
    """The first token of 4,000 samples against them, within 4.5 standard errors; seeds repeat and differ."""
    model = make()
    prompts = prompts_of(model, [1, 2])
    n = 4_000
    config = DecodingConfig(sample=True, temperature=1.7, number=n, max_tokens=1)
    [texts] = sample(model, prompts, config)
    counts = np.bincount([text.ids[0] for text in texts], minlength=VOCAB)
    expected = (next_log_probabilities(model, prompts, 0, []) / 1.7).softmax(-1).numpy()
    assert (np.abs(counts / n - expected) < 4.5 * np.sqrt(expected * (1 - expected) / n) + 1e-9).all()
    assert sample(model, prompts, config) == [texts]
    assert sample(model, prompts, config.model_copy(update={"seed": 2})) != [texts]


def test_a_stream_gives_the_tokens_of_the_text_as_they_come():
    """Each step one token of every text that goes on."""
    model = make()
    prompts = prompts_of(model, [1], [2, 3, 1])
    texts = sample(model, prompts, DecodingConfig(max_tokens=6))
    streamed: dict[int, list[int]] = {0: [], 1: []}
    for newest in stream(model, prompts, DecodingConfig(max_tokens=6)):
        for token in newest:
            streamed[token.row].append(token.id)
    assert streamed == {row: text.ids for row, [text] in enumerate(texts)}


LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0, 1.0], [0.0, 0.0, 5.0, 0.0, 0.0]])


def kept(logits: torch.Tensor) -> list[list[int]]:
    return [row.isfinite().nonzero().flatten().tolist() for row in logits]


def test_the_rules_of_sampling_keep_what_they_should():
    """The k likeliest (with ties), the fewest with a share of p, those with a share of the likeliest's."""
    assert kept(top_k(LOGITS, 1)) == [[0], [2]]
    assert kept(top_k(LOGITS, 2)) == [[0, 1, 4], [0, 1, 2, 3, 4]]
    assert kept(top_k(LOGITS, None)) == kept(top_k(LOGITS, 99)) == [[0, 1, 2, 3, 4]] * 2
    probabilities = LOGITS.softmax(-1)
    for p in (0.1, 0.5, 0.7, 0.93, 0.99):
        for row, found in enumerate(kept(top_p(LOGITS, p))):
            share = probabilities[row, found].sum()
            least = probabilities[row, found].min()
            assert share >= p - 1e-6 and share - least < p
    assert kept(top_p(LOGITS, 1.0)) == [[0, 1, 2, 3, 4]] * 2
    assert kept(min_p(LOGITS, 0.3)) == [[0, 1, 4], [2]] and kept(min_p(LOGITS, 0.0)) == [[0, 1, 2, 3, 4]] * 2
    assert math.exp(-1) > 0.3 > math.exp(-2)


@pytest.mark.parametrize("setting", [{"top_p": 5e-324}, {"temperature": 1e-320}, {"min_p": 1.0}])
def test_the_smallest_choice_is_the_likeliest_token(setting):
    config = DecodingConfig(sample=True, **setting)
    drawn = choose(LOGITS, config, torch.Generator().manual_seed(1))
    assert drawn.tolist() == LOGITS.argmax(-1).tolist()


def test_repeated_tokens_lose():
    """A positive score is divided, a negative one multiplied; others stay, and other rows too."""
    changed = repeated_less(LOGITS, [[0, 3, 0], []], 2.0)
    assert changed[0].tolist() == [1.0, 1.0, 0.0, -2.0, 1.0] and torch.equal(changed[1], LOGITS[1])
    assert repeated_less(LOGITS, [[0], [1]], 1.0) is LOGITS


def test_without_sampling_nothing_is_drawn():
    """The likeliest, whatever the generator."""
    draws = [choose(LOGITS, DecodingConfig(), torch.Generator().manual_seed(n)).tolist() for n in range(5)]
    assert draws == [[0, 2]] * 5


# ----------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"sample": True, "beam": 3}, "two ways to generate"),
        ({"top_k": 3}, "top_k says how to sample, and nothing is sampled"),
        ({"temperature": 0.5}, "temperature says how to sample"),
        ({"number": 3, "beam": 2}, "3 texts are asked for, and 2 are kept"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        check_decoding(DecodingConfig(**settings))


@pytest.mark.parametrize(
    "name, value",
    [("beam", 2), ("length_penalty", 2.0), ("repetition_penalty", 2.0), ("max_tokens", 3), ("order", "left")],
)
def test_settings_of_the_other_way_to_generate_are_refused(name, value):
    """At the end of a text, or in any order: what one of them has not is refused there, and taken in the other."""
    config = DecodingConfig(**{name: value})
    with pytest.raises(UsageError, match=f"{name} is for .*\nleave out {name}"):
        check_decoding(config, any_order=name != "order")
    if name != "length_penalty":  # which needs a beam too
        check_decoding(config, any_order=name == "order")


def test_settings_that_go_together_are_not():
    for settings in (
        {},
        {"sample": True, "top_k": 3, "number": 4},
        {"beam": 4, "number": 4},
        {"repetition_penalty": 2.0},
    ):
        check_decoding(DecodingConfig(**settings))


@pytest.mark.parametrize("beam", [1, 3])
def test_a_prompt_without_room_is_refused(beam):
    """The model can tell 13 places: after 13 tokens one more can be asked for, but not read."""
    model = make()
    search = beam_search if beam > 1 else sample
    [[text, *_]] = search(model, prompts_of(model, [1] * 13), DecodingConfig(beam=beam))
    assert len(text.ids) == 1
    with pytest.raises(UsageError, match="a prompt of 14 tokens leaves no room: the model reads 13"):
        search(model, prompts_of(model, [1] * 14), DecodingConfig(beam=beam))
