"""From recipe to generated text: the two families that generate, trained through the one trainer, from Python and from
the command line."""

import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_recipe
import torch
from trained import command, generator_folder, permuting_folder, refused, run_folder

from glassformer.ask.attention import Chosen
from glassformer.ask.run import Run, load
from glassformer.data.batch import Batch
from glassformer.errors import UsageError
from glassformer.objectives import Objective, find_objective

PAIRS = [(" ".join(words), " ".join(reversed(words))) for words in (s.split() for s in tiny_recipe.dozen())]


def trained_on_pairs(folder: Path, **sections: dict) -> Run:
    """Twelve sentences, each with its words in reverse."""
    file = folder / "pairs.tsv"
    file.write_text("".join(f"{source}\t{target}\n" for source, target in PAIRS), encoding="utf-8")
    wanted = tiny_recipe.tree(
        file,
        objective={"name": "seq2seq"},
        model={"d_model": 24, "dropout": 0.0, "positions": "sinusoidal"},
        optimizer={"learning_rate": 0.01},
        training={"steps": 300, "evaluate_every": 150, "checkpoint_every": 150},
    )
    wanted["data"] |= {"validation": str(file)}
    for name, section in sections.items():
        wanted[name] = wanted.get(name, {}) | section
    return tiny_recipe.train(tiny_recipe.parse(wanted), folder / "run")


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("shared", [True, False])
def test_an_encoder_decoder_learns_its_pairs_by_heart(tmp_path: Path, shared: bool) -> None:
    """To a loss under 0.01, with one vocabulary or two; then greedy and beam answer each source with its target."""
    separate = {} if shared else {"target_tokenizer": {"kind": "word", "vocab_size": 100}}
    run = trained_on_pairs(tmp_path, **separate)
    assert (run.path / "target_tokenizer.json").is_file() != shared
    assert run.metrics()[-1]["event"] == "evaluation" and run.metrics()[-1]["loss"] < 0.01
    sources = [source for source, _ in PAIRS]
    for settings in ({}, {"beam": 3}):
        answers = [generation.outputs[0] for generation in run.generate(sources, **settings)]
        assert [answer.text for answer in answers] == [target for _, target in PAIRS]
        assert all(answer.finished and answer.log_probability > -0.5 for answer in answers)
    assert "".join(run.stream(sources[3])).split() == PAIRS[3][1].split()
    looks_inside(run, tmp_path)


def looks_inside(run: Run, tmp_path: Path) -> None:
    """The three kinds of attention of an encoder-decoder, from Python and from the command line."""
    source, target = PAIRS[2]
    words = target.split()
    seen = run.attention(source)
    assert seen.weights.shape == (2, 3, 6, 6) and seen.tokens == [*source.split(), "[SEP]"] and seen.filled is None
    cross = run.attention(source, kind="cross")
    assert cross.weights.shape == (2, 3, 6, 6)
    assert cross.tokens == [*words, "[SEP]"] and cross.keys == [*source.split(), "[SEP]"]
    np.testing.assert_allclose(cross.weights.sum(-1), 1, atol=1e-5)
    again = run.attention(source, kind="cross", target=target)  # its own answer, given to it
    assert np.array_equal(again.weights, cross.weights)
    some = run.attention(source, kind="cross", target=target, only=Chosen(1, 0, [3]))
    assert some.weights == pytest.approx(cross.weights[1:, :1, [3]], abs=1e-6)
    decoder = run.attention(source, kind="decoder", target=" ".join(words[:3]))
    assert decoder.tokens == ["[CLS]", *words[:3]] and decoder.keys is None
    assert (np.triu(decoder.weights, 1) == 0).all() and (decoder.weights[..., 1:, 0] > 0).all()
    for kind in ("self", "cross", "decoder"):
        picture = tmp_path / f"{kind}.png"
        said = command("attention", run.path, source, "--kind", kind, "--output", picture)
        assert said.code == 0 and picture.read_bytes().startswith(b"\x89PNG")
    found = command("attention", run.path, source, "--kind", "cross", "--json").json
    assert found["kind"] == "cross" and found["tokens"] == cross.tokens and found["keys"] == cross.keys
    assert "this model fills no blanks" in refused("fill", run.path, "e0 [MASK]")
    assert "the target has 40 tokens, the decoder reads at most 15" in refused(
        "attention", run.path, source, "--kind", "cross", "--target", "e0 " * 40, "--output", tmp_path / "a.png"
    )


@pytest.mark.usefixtures("one_thread")
def test_it_does_not_learn_shuffled_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same training with the targets of each batch drawn anew stays far from 0: what is learned is the pairs."""
    loss = Objective.loss

    def shuffled(self, logits, batch):
        [(name, targets)] = batch.targets.items()
        order = torch.randperm(len(targets.values))
        return loss(self, logits, batch._replace(targets={name: targets._replace(values=targets.values[order])}))

    from glassformer.objectives.seq2seq import Seq2Seq

    plain = Seq2Seq.loss
    monkeypatch.setattr(Seq2Seq, "loss", lambda *args: shuffled(*args) if torch.is_grad_enabled() else plain(*args))
    assert trained_on_pairs(tmp_path).metrics()[-1]["loss"] > 1.0


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("layout", ["grouped", "packed"])
def test_a_causal_model_learns_its_texts_by_heart(tmp_path: Path, layout: str) -> None:
    """From the first word of each sentence to its end, packed in rows or not."""
    text = tiny_recipe.text_file(tmp_path, tiny_recipe.dozen())
    wanted = tiny_recipe.recipe(
        text,
        objective={"name": "causal_lm"},
        data={"validation": str(text)},
        batch={"size": 2 if layout == "packed" else 4, "layout": layout},
        model={"d_model": 24, "dropout": 0.0},
        optimizer={"learning_rate": 0.01},
        training={"steps": 200, "evaluate_every": 100, "checkpoint_every": 100},
    )
    run = tiny_recipe.train(wanted, tmp_path / "run")
    for sentence in tiny_recipe.dozen():
        first, _, rest = sentence.partition(" ")
        [output] = run.generate(first).outputs
        assert output.finished and output.text == f" {rest}"


LEARNT: dict[str, dict[str, dict]] = {
    "causal_lm": {},
    "denoising": {"objective": {"mask_rate": 0.2}},
    "span_corruption": {
        "objective": {"corruption_rate": 0.4, "span_length": 2},
        "tokenizer": {"sentinels": 6},
        "batch": {"layout": "packed"},
    },
    "permutation_lm": {"objective": {"asked_share": 0.4}},
}
"""Objectives that learn single texts by heart, and what they change."""


def trained_on_texts(folder: Path, name: str, **batch: str) -> Run:
    """Twelve sentences of five words, each of which follows from any other of its sentence."""
    text = tiny_recipe.text_file(folder, tiny_recipe.dozen())
    changes = LEARNT[name]
    wanted = tiny_recipe.recipe(
        text,
        objective={"name": name} | changes.get("objective", {}),
        data={"validation": str(text)},
        tokenizer=changes.get("tokenizer", {}),
        batch={"size": 4} | changes.get("batch", {}) | batch,
        model={"d_model": 24, "dropout": 0.0, "positions": "sinusoidal"},
        optimizer={"learning_rate": 0.01},
        training={"steps": 400, "evaluate_every": 200, "checkpoint_every": 200},
    )
    return tiny_recipe.train(wanted, folder / "run")


@functools.lru_cache
def learnt(name: str) -> Path:
    """The run of `trained_on_texts`, made once for all tests that only ask it. Not to be changed."""
    folder = Path(tempfile.mkdtemp(prefix="glassformer-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSFORMER_CACHE", str(folder / "cache"))
        return trained_on_texts(folder, name).path


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("layout", ["grouped", "packed"])
def test_a_denoiser_restores_what_it_has_learned(tmp_path: Path, layout: str) -> None:
    """Each sentence, with two words hidden; the stream says the same."""
    run = trained_on_texts(tmp_path, "denoising", layout=layout) if layout == "packed" else load(learnt("denoising"))
    prompts = [f"a{n} [MASK] c{n} d{n} [MASK]" for n in range(12)]
    assert [answer.outputs[0].text for answer in run.generate(prompts)] == tiny_recipe.dozen()
    assert "".join(run.stream(prompts[5])) == tiny_recipe.dozen()[5]
    assert "gives a single text no probability" in refused("score", run.path, "a1 b1")


@pytest.mark.usefixtures("one_thread")
def test_a_span_model_says_what_stood_in_the_gaps() -> None:
    """One gap of several words in each sentence; the answer is the whole text, also streamed."""
    run = load(learnt("span_corruption"))
    prompts = [f"a{n} [MASK] d{n} e{n}" for n in range(12)]
    assert [answer.outputs[0].text for answer in run.generate(prompts)] == tiny_recipe.dozen()
    assert "".join(run.stream(prompts[5])) == tiny_recipe.dozen()[5]
    assert "there is no gap" in refused("generate", run.path, "a1 b1")


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("layout", ["grouped", "packed"])
def test_a_permutation_model_fills_its_blanks(tmp_path: Path, layout: str) -> None:
    """Each word from the others; its answers stand where the blanks do, in `fill` and in the attention's rows."""
    packed = layout == "packed"
    run = trained_on_texts(tmp_path, "permutation_lm", layout=layout) if packed else load(learnt("permutation_lm"))
    for n, sentence in enumerate(tiny_recipe.dozen()):
        words = sentence.split()
        for place in range(5):
            [blank] = run.fill(" ".join([*words[:place], "[MASK]", *words[place + 1 :]])).blanks
            assert (blank.position, blank.candidates[0].token) == (place + 1, words[place]), n
    assert run.score(tiny_recipe.dozen()[3]).perplexity < 1.5
    seen = run.attention("a3 [MASK] c3 d3 e3")
    assert seen.tokens == ["[CLS]", "a3", "[MASK]", "c3", "d3", "e3", "[SEP]"]
    assert seen.keys == ["[CLS]", "a3", "c3", "d3", "e3", "[SEP]"] and seen.weights.shape == (2, 3, 7, 6)
    assert seen.filled is not None and seen.tokens[seen.filled.blanks[0].position] == "[MASK]"
    for order in ("surest", "left", "right", "random"):
        assert run.generate("a3 [MASK] [MASK] d3 [MASK]", order=order).outputs[0].text == tiny_recipe.dozen()[3]
    assert "".join(run.stream("[MASK] b2 [MASK] d2 e2")) == tiny_recipe.dozen()[2]
    assert "there is no blank" in refused("generate", run.path, "a3")


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", LEARNT)
def test_shuffled_targets_are_not_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The trainings above, with the targets of each batch drawn anew: what they have learned is their texts. The same
    training with its own targets ends far below."""
    learned = load(learnt(name)).metrics()[-1]["loss"]
    kind = find_objective(name)
    plain = kind.loss

    def shuffled(self: Objective, logits: Any, batch: Batch) -> Any:
        if not torch.is_grad_enabled():
            return plain(self, logits, batch)
        [(name, targets)] = batch.targets.items()
        order = torch.randperm(len(targets.values))
        return plain(self, logits, batch._replace(targets={name: targets._replace(values=targets.values[order])}))

    monkeypatch.setattr(kind, "loss", shuffled)
    not_learned = trained_on_texts(tmp_path, name).metrics()[-1]["loss"]
    assert not_learned > learned + 1.0, (learned, not_learned)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("order", ["surest", "left", "right", "random"])
def test_each_word_that_is_written_is_seen_by_the_next(tmp_path: Path, order: str) -> None:
    """Texts of one word, said four times: drawn blank by blank, each of 12 texts still has one word only."""
    text = tiny_recipe.text_file(tmp_path, [f"{word} {word} {word} {word}" for word in ("sun", "moon", "star")] * 4)
    run = tiny_recipe.train(
        tiny_recipe.recipe(
            text,
            objective={"name": "permutation_lm", "asked_share": 0.7},
            data={"validation": str(text)},
            model={"d_model": 24, "dropout": 0.0, "positions": "sinusoidal"},
            optimizer={"learning_rate": 0.01},
            training={"steps": 300, "evaluate_every": 300, "checkpoint_every": 300},
        ),
        tmp_path / "run",
    )
    drawn = run.generate("[MASK] [MASK] [MASK] [MASK]", sample=True, number=12, order=order, seed=3).outputs
    words = [set(output.text.split()) for output in drawn]
    assert all(len(one) == 1 for one in words) and len(set.union(*words)) > 1


# --------------------------------------------------------------------------------------------------- a run is asked


def test_samples_are_repeatable_and_differ() -> None:
    """The same seed, the same texts; several of one prompt differ; a limit of tokens is kept."""
    run = load(generator_folder())
    settings = {"sample": True, "number": 8, "max_tokens": 6, "seed": 3}
    first = run.generate("Mars is", **settings)
    assert first == run.generate("Mars is", **settings)
    assert len({output.text for output in first.outputs}) > 1
    assert first != run.generate("Mars is", **(settings | {"seed": 4}))


def test_no_batch_repeats_another() -> None:
    """One prompt 128 times: what is drawn behind the first 64 goes on, and is not what was drawn for them."""
    run = load(generator_folder())
    settings = {"sample": True, "temperature": 3.0, "max_tokens": 4}
    texts = run.generate(["Mars is"] * 128, **settings)
    assert texts[:64] == run.generate(["Mars is"] * 64, **settings)
    assert not any(one == other for one, other in zip(texts[:64], texts[64:], strict=True))
    assert texts == run.generate(["Mars is"] * 128, **settings)


def test_a_stream_is_the_text_in_pieces() -> None:
    """Put together, it is what generate gives."""
    run = load(generator_folder())
    settings = {"sample": True, "temperature": 3.0, "max_tokens": 12}
    pieces = list(run.stream("Mars is", **settings))
    assert "".join(pieces) == run.generate("Mars is", **settings).outputs[0].text
    assert len(pieces) > 1


def test_the_command_says_what_python_says() -> None:
    """Arguments, a file, standard input; text for people and JSON."""
    run = load(generator_folder())
    expected = [run.generate(text, max_tokens=5).outputs[0].text for text in ("Mars is", "The moon")]
    said = command("generate", generator_folder(), "Mars is", "The moon", "--max-tokens", "5")
    assert said.out.splitlines() == expected
    assert command("generate", generator_folder(), "--max-tokens", "5", stdin=b"Mars is\nThe moon\n").out == said.out
    assert (
        command("generate", generator_folder(), "--max-tokens", "5", "--stream", "Mars is", "The moon").out == said.out
    )
    answer = command(
        "generate", generator_folder(), "Mars is", "--beam", "3", "--num", "2", "--json", "--max-tokens", "5"
    ).json
    assert [list(answer), len(answer["outputs"])] == [["text", "outputs"], 2]
    assert json.dumps(answer) == json.dumps(run.generate("Mars is", beam=3, number=2, max_tokens=5).record())


def test_what_is_written_can_go_to_a_file(tmp_path: Path) -> None:
    """As text, or as the lines that --json prints; the name of the file is all that is said."""
    asked = ("generate", generator_folder(), "Mars is", "The moon", "--max-tokens", "5")
    for name, words in (("a.txt", ()), ("a.jsonl", ("--json",))):
        assert command(*asked, "--output", tmp_path / name).out == f"{tmp_path / name}\n"
        written = (tmp_path / name).read_text(encoding="utf-8").splitlines()
        printed = command(*asked, *words).out.splitlines()
        assert len(written) == 2
        assert written == printed or [*map(json.loads, written)] == [*map(json.loads, printed)]
    for words, mend in ((("a.png",), "FILE.txt or FILE.jsonl"), (("b.txt", "--json"), "leave out --stream and --json")):
        assert mend in refused(*asked, "--output", tmp_path / words[0], *words[1:])
        assert not (tmp_path / words[0]).exists()


# ----------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["Mars is", "--sample", "--beam", "3"], "sample and beam are two ways to generate"),
        (["Mars is", "--top-k", "3"], "top_k says how to sample, and nothing is sampled"),
        (["Mars is", "--sample", "--top-p", "1.5"], "top_p=1.5: input should be less than or equal to 1"),
        (["Mars is", "--sample", "--temperature", "0"], "temperature=0.0: input should be greater than 0"),
        (["Mars is", "--num", "3"], "or keep as many (--beam 3)"),
        (["Mars is", "--order", "left"], "order is for blanks in a text, and this model generates otherwise"),
        (["Mars is [MASK]"], "this model has learned to go on with a text"),
        (["word " * 60], "the model reads at most 39"),
        ([""], "the text is empty"),
        (["Mars is", "--beam", "100000"], "beam=100000: input should be less than or equal to 1000"),
    ],
)
def test_bad_input_is_one_line_and_the_mend(arguments: list[str], message: str) -> None:
    assert message in refused("generate", generator_folder(), *arguments)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--beam", "2"], "beam is for texts that grow at their end"),
        (["--repetition-penalty", "1.5"], "repetition_penalty is for texts that grow at their end"),
        (["--max-tokens", "3"], "max_tokens is for texts that grow at their end"),
        (["--num", "3"], "3 texts are asked for, and 1 are kept\n  sample (--sample)"),
    ],
)
@pytest.mark.parametrize("stream", [[], ["--stream"]])
def test_blanks_refuse_the_settings_of_texts_that_grow(arguments: list[str], message: str, stream: list[str]) -> None:
    """They would do nothing; streamed, several texts are refused before."""
    said = refused("generate", permuting_folder(), "sun [MASK]", *arguments, *stream)
    assert message in said or (stream and "several texts are weighed at a time" in said)
    assert "beam=3" not in said


def test_a_persons_own_unknown_words_are_kept_and_named() -> None:
    """In the text that is written, and on standard error, as `fill` has them; of a text that is gone on with, too."""
    said = command("generate", permuting_folder(), "Zorblax,  the [MASK] sun!")
    before, after = "Zorblax,  the ", " sun!\n"
    assert said.out.startswith(before) and said.out.endswith(after)
    assert said.out[len(before) : -len(after)] in tiny_recipe.WORDS
    assert said.err == "not in the vocabulary, read as unknown: Zorblax, ,, the, !\n"
    asked = ["generate", permuting_folder(), "Zorblax [MASK]"]
    assert command(*asked, "--stream").out == command(*asked).out
    assert command(*asked, "--json").json["outputs"][0]["text"].startswith("Zorblax ")
    assert command("generate", generator_folder(), "Mars is").err == ""


def test_a_masked_model_says_why_it_does_not_generate_and_what_does() -> None:
    said = refused("generate", run_folder(), "Mars is")
    assert "a model trained by masked_lm does not generate" in said and "causal_lm" in said and "fill RUN" in said


@pytest.mark.parametrize("kind", ["cross", "decoder"])
def test_a_single_stack_has_one_kind_of_attention(kind: str) -> None:
    for run in (run_folder(), generator_folder()):
        said = refused("attention", run, "Mars is", "--kind", kind, "--json")
        assert f"no attention of the kind {kind}" in said
    assert "a target is read by the decoder" in refused("attention", run_folder(), "Mars is", "--target", "x", "--json")


def test_a_causal_models_attention_looks_back_only() -> None:
    seen = load(generator_folder()).attention("Mars is called")
    assert seen.tokens[0] == "[SEP]" and (np.triu(seen.weights, 1) == 0).all() and seen.filled is None


@pytest.mark.parametrize("folder", [run_folder, generator_folder, permuting_folder])
def test_chosen_weights_are_the_same_numbers(folder: Callable[[], Path]) -> None:
    """One layer, one head, some rows in any order, all of a permutation model's in their places: as cut from all."""
    run, text = load(folder()), "sun moon" if folder is generator_folder else "sun [MASK] moon"
    whole = run.attention(text).weights
    rows = [2, 0]
    chosen = {
        Chosen(): whole,
        Chosen(layer=1): whole[1:2],
        Chosen(head=2): whole[:, 2:3],
        Chosen(layer=0, head=1, most=whole[0, 1].size): whole[:1, 1:2],
    }
    for only, wanted in chosen.items():
        assert run.attention(text, only=only).weights == pytest.approx(wanted, abs=1e-6)
    assert run.attention(text, only=Chosen(rows=[])).weights.shape == (2, 3, 0, whole.shape[3])
    assert run.attention(text, only=Chosen(1, 2, rows)).weights == pytest.approx(whole[1:2, 2:3, rows], abs=1e-6)


@pytest.mark.parametrize(
    "only, message",
    [
        (Chosen(layer=2), "there is no layer 2"),
        (Chosen(head=-1), "there is no head -1"),
        (Chosen(rows=[0, 5]), "there is no row 5\nthe text has rows 0 to 4"),
        (Chosen(layer=0, rows=[1], most=14), "these are 15 weights\nat most 14"),
    ],
    ids=["layer", "head", "row", "too many"],
)
def test_weights_that_are_not_there_or_too_many_are_refused(only: Chosen, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(run_folder()).attention("sun [MASK] moon", only=only)


def test_a_setting_that_there_is_not_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"there is no setting 'temprature'.*\n.*'temperature'"):
        load(generator_folder()).generate("Mars is", temprature=2.0)
