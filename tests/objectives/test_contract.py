"""What every objective promises, asked of each file in objectives/. A new file is picked up by itself."""

import sys
from pathlib import Path

import numpy as np
import pytest
import task_data
import torch
from lightning_fabric.utilities import move_data_to_device
from PIL import Image

from glassformer import objectives
from glassformer.answers import COMMANDS, FillsInAnyOrder, Generates, ScoresText
from glassformer.data.batch import IGNORE_INDEX, Example, collate
from glassformer.data.corpus import Corpus
from glassformer.data.table import Column
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
from glassformer.errors import UsageError
from glassformer.objectives import Objective, find_objective
from glassformer.plugins import plugin_names

MAX_LENGTH = 13


def make(name: str, tokenizer: Tokenizer) -> Objective:
    return task_data.make(name, tokenizer, MAX_LENGTH)


@pytest.fixture(autouse=True)
def picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture that an objective over pictures asks with."""
    Image.fromarray(np.zeros(task_data.SHAPE, dtype=np.uint8)).save(tmp_path / "PICTURE.png")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def tokenizer(texts: list[str]) -> Tokenizer:
    """Word level, with a few sentinels."""
    return Tokenizer.train(texts, TokenizerConfig(kind="word", vocab_size=97, sentinels=5))


@pytest.fixture(scope="module")
def corpus(texts: list[str], tokenizer: Tokenizer) -> Corpus:
    return Corpus.from_texts(texts, tokenizer)


def pairs_of(corpus: Corpus, tokenizer: Tokenizer) -> Corpus:
    """The texts that leave room for an end, each with its words in reverse."""
    texts = [tokenizer.decode(corpus.document(n)) for n in range(corpus.n_documents) if corpus.lengths[n] < MAX_LENGTH]
    backwards = [" ".join(reversed(text.split())) for text in texts]
    return Corpus.from_texts(texts, tokenizer).paired(Corpus.from_texts(backwards, tokenizer))


def stories_of(corpus: Corpus, tokenizer: Tokenizer) -> Corpus:
    """Documents of three sentences, whose borders are known: the texts, each a sentence."""
    texts = [tokenizer.decode(corpus.document(n)) for n in range(corpus.n_documents)]
    return Corpus.from_texts(["\n".join(texts[n : n + 3]) for n in range(0, 12, 3)], tokenizer, language="en")


def data_for(objective: Objective, corpus: Column) -> Column:
    """Pairs for an objective over pairs, sentences for one that needs them, labels beside texts or pictures."""
    if objective.needs_sentences(objective.config):
        return stories_of(corpus, objective.tokenizer)
    if "tags" in objective.columns:
        return task_data.tagged(objective, [objective.tokenizer.decode(corpus.document(n)) for n in range(12)])
    if "spans" in objective.columns:
        return task_data.asked(objective, [objective.tokenizer.decode(corpus.document(n)) for n in range(12)])
    if "second" in objective.columns:
        return task_data.two_texts(objective, [objective.tokenizer.decode(corpus.document(n)) for n in range(12)])
    if "label" in objective.columns:
        texts = [objective.tokenizer.decode(corpus.document(n)) for n in range(corpus.n_documents)]
        return task_data.labelled(objective, texts)
    return pairs_of(corpus, objective.tokenizer) if "target" in objective.columns else corpus


def examples_of(objective: Objective, corpus: Column, seed: int = 1) -> list[Example]:
    dataset = objective.dataset(corpus)
    return [dataset.example(i, np.random.default_rng((seed, i))) for i in range(len(dataset))]


def flat(example: Example) -> list:
    """Everything in an example, to compare."""
    parts = [*example.streams.values(), *example.targets.values()]
    return [part.tolist() if isinstance(part, np.ndarray) else part for group in parts for part in group]


# ----------------------------------------------------------------------------------- one function for each promise


def check_lengths(objective: Objective, corpus: Column) -> None:
    """`lengths` says how long the longest stream of each unit may be; none is longer than the model reads."""
    dataset = objective.dataset(corpus)
    assert len(dataset) > 0
    for index, example in enumerate(examples_of(objective, corpus)):
        assert MAX_LENGTH >= dataset.lengths[index] >= max(stream.n_keys for stream in example.streams.values())
        assert dataset.lengths[index] <= 2 + max(stream.n_keys for stream in example.streams.values())


def check_purity(objective: Objective, corpus: Column) -> None:
    """An example is a function of index and generator alone: not of what was asked before, nor of global state."""
    dataset = objective.dataset(corpus)
    forwards = [flat(example) for example in examples_of(objective, corpus)]
    np.random.seed(99)
    torch.manual_seed(99)
    for index in reversed(range(len(dataset))):
        assert flat(dataset.example(index, np.random.default_rng((1, index)))) == forwards[index]


def check_fresh_corruption(objective: Objective, corpus: Column) -> None:
    """Another generator gives other questions, unless nothing is drawn."""
    first, second = (list(map(flat, examples_of(objective, corpus, seed))) for seed in (1, 2))
    assert (first == second) == (not objective.draws)


def check_questions(objective: Objective, corpus: Column) -> None:
    """Each head is asked, inside its stream, at no place twice, for a class that it has."""
    specs = {spec.name: spec for spec in objective.outputs()}
    assert len(specs) == len(objective.outputs()) > 0
    asked_at_all = dict.fromkeys(specs, 0)
    for example in examples_of(objective, corpus):
        assert set(example.targets) == set(specs)
        for name, (positions, targets, stream, _) in example.targets.items():
            assert len(positions) == len(targets) == len(set(positions.tolist()))
            assert ((positions >= 0) & (positions < len(example.streams[stream].values))).all()
            assert ((targets >= 0) & (targets < specs[name].size)).all()
            asked_at_all[name] += len(positions)
    assert all(asked_at_all.values())


def logits_for(objective: Objective, examples: list[Example]) -> tuple:
    """A batch of one example a row, and random logits at its asked places."""
    batch = collate([[example] for example in examples], objective.pad_id)
    generator = torch.Generator().manual_seed(len(examples))
    width = next(iter(batch.streams.values())).input_ids.shape[1]
    sizes = {spec.name: width if spec.read == "pointer" else spec.size for spec in objective.outputs()}
    return batch, {
        name: torch.randn(len(targets.flat_index), sizes[name], generator=generator, requires_grad=True)
        for name, targets in batch.targets.items()
    }


def check_loss(objective: Objective, corpus: Column) -> None:
    """Sums and counts: finite, counted as the batch says, and the sum over two halves is the sum over the whole."""
    examples = examples_of(objective, corpus)
    batch, logits = logits_for(objective, examples)
    whole = objective.loss(logits, batch)
    assert set(whole) == {spec.name for spec in objective.outputs()}
    for name, loss in whole.items():
        assert loss.count == batch.targets[name].n_targets > 0
        assert torch.isfinite(loss.total) and loss.total > 0
    half = len(examples) // 2
    taken = dict.fromkeys(whole, 0)
    totals = dict.fromkeys(whole, 0.0)
    for part in (examples[:half], examples[half:]):
        small, _ = logits_for(objective, part)
        own = {n: logits[n][taken[n] : taken[n] + len(targets.flat_index)] for n, targets in small.targets.items()}
        for name, loss in objective.loss(own, small).items():
            totals[name] += loss.total.item()
            taken[name] += loss.count
    for name, loss in whole.items():
        assert totals[name] == pytest.approx(loss.total.item(), rel=1e-5)


def check_gradient(objective: Objective, corpus: Column) -> None:
    """Each asked place moves the loss, and a padded entry of the list does not. Among numbers all padding stands behind
    what counts."""
    examples = examples_of(objective, corpus)
    batch, logits = logits_for(objective, examples)
    padded = batch._replace(
        targets={
            name: targets._replace(values=targets.values.index_fill(0, torch.tensor([0]), IGNORE_INDEX))
            if objective.losses[name].targets == "classes"
            else targets._replace(n_targets=targets.n_targets - 2)
            for name, targets in batch.targets.items()
        }
    )
    torch.stack([loss.total for loss in objective.loss(logits, padded).values()]).sum().backward()
    for name, values in logits.items():
        moved = values.grad.abs().sum(-1)
        if objective.losses[name].targets == "classes":
            assert moved[0] == 0 and (moved[1:] > 0).all()
        else:
            assert (moved[-2:] == 0).all() and (moved[:-2] > 0).all()


def check_device(objective: Objective, corpus: Column) -> None:
    """Losses and scores are computed where the logits are: torch's device without numbers refuses to be mixed."""
    batch, logits = move_data_to_device(logits_for(objective, examples_of(objective, corpus)[:5]), "meta")
    for found in (objective.loss(logits, batch), objective.sums(logits, batch)):
        assert {torch.as_tensor(value.total).device.type for value in found.values()} == {"meta"}


def check_prompt(objective: Objective, corpus: Column) -> None:
    """A person's text becomes an example like those of training, and too long a text an error with the limit."""
    known = examples_of(objective, corpus)[0]
    prompt = objective.prompt(objective.asks_with)
    assert set(prompt.example.streams) == set(known.streams) and set(prompt.example.targets) == set(known.targets)
    assert len(prompt.tokens) == len(prompt.example.streams[prompt.stream].values)
    assert any(len(targets.positions) for targets in prompt.example.targets.values())
    reads_text = objective.columns[0] != "array"
    with pytest.raises(UsageError, match="at most" if reads_text else "there is no file"):
        objective.prompt("mars " * (MAX_LENGTH + 1))


def check_answer(objective: Objective, corpus: Column) -> None:
    """Probabilities, best first, one blank for each asked place of classes, the truth where it is known."""
    example = examples_of(objective, corpus)[0]
    _, logits = logits_for(objective, [example])
    blanks = objective.answer(example, logits, top=3)
    sizes = {spec.name: spec.size for spec in objective.outputs()}
    of_classes = {name for name, loss in objective.losses.items() if loss.targets == "classes"}
    classes = [sizes[n] for n, targets in example.targets.items() if n in of_classes for _ in targets.positions]
    assert len(blanks) == len(classes)
    for blank, size in zip(blanks, classes, strict=True):
        probabilities = [candidate.probability for candidate in blank.candidates]
        assert len(probabilities) == min(3, size)
        assert sum(probabilities) < 1 if size > 3 else sum(probabilities) == pytest.approx(1)
        assert probabilities == sorted(probabilities, reverse=True) and min(probabilities) > 0
        assert blank.true is not None


CHECKS = [
    check_lengths,
    check_purity,
    check_fresh_corruption,
    check_questions,
    check_loss,
    check_gradient,
    check_device,
    check_prompt,
    check_answer,
]


# -------------------------------------------------------------------------------------------------- who is asked it


def test_the_objectives_that_must_be_found():
    """Discovery that finds nothing would make every test below pass."""
    assert {
        "masked_lm",
        "causal_lm",
        "seq2seq",
        "denoising",
        "span_corruption",
        "permutation_lm",
        "mixture",
        "next_sentence",
        "classification",
        "tagging",
        "sentence_pair",
        "similarity",
        "span_extraction",
        "image_classification",
    } <= set(plugin_names("glassformer.objectives"))


PLAIN = [name for name in plugin_names("glassformer.objectives") if name != "mixture"]
"""A mixture has no examples of its own: that it hands on those of its members is in test_mixture.py."""


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_every_objective_keeps_the_contract(name, check, tokenizer, corpus):
    objective = make(name, tokenizer)
    check(objective, data_for(objective, corpus))


@pytest.mark.parametrize("name", plugin_names("glassformer.objectives"))
def test_its_configuration_carries_its_name(name):
    """A recipe's section `objective` is typed by its `name`, which is the file's."""
    assert find_objective(name).Config().model_dump()["name"] == name


def test_an_unknown_objective_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'masked_lm'"):
        find_objective("maskd_lm")


@pytest.mark.parametrize("answers", [(ScoresText,), (Generates, FillsInAnyOrder)])
def test_who_cannot_be_asked_names_all_who_can(answers, tokenizer):
    """A text's probability, and what follows a text: the refusal names each objective that has the answer, and none
    that would refuse as well."""
    able = {name for name in PLAIN if issubclass(find_objective(name), answers)}
    assert able
    for name in set(PLAIN) - able:
        objective = make(name, tokenizer)
        with pytest.raises(UsageError) as refusal:
            if ScoresText in answers:
                objective.scoring("the sun")
            else:
                objective.generator_of(objective.prompt(objective.asks_with))
        assert {other for other in PLAIN if other in refusal.value.mend} == able


@pytest.mark.parametrize("name", PLAIN)
def test_it_can_be_asked_for_something_and_is_tried_with_that(name, tokenizer):
    objective = make(name, tokenizer)
    command, text = objective.to_try
    assert command in COMMANDS.values() and objective.prompt(text)


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a file `planted.py` into the folder of objectives, for one test."""

    def put(body: str) -> str:
        (tmp_path / "planted.py").write_text(body)
        monkeypatch.setattr(objectives, "__path__", [*objectives.__path__, str(tmp_path)])
        monkeypatch.delitem(sys.modules, "glassformer.objectives.planted", raising=False)
        return "planted"

    yield put
    sys.modules.pop("glassformer.objectives.planted", None)


HEADER = """
import numpy as np
import torch
from glassformer.objectives import Loss
from glassformer.objectives.masked_lm import MaskedLM

class Planted(MaskedLM):
"""

BROKEN = {
    "lengths": (check_lengths, "def dataset(s, c): u = super().dataset(c); u.lengths = u.lengths - 1; return u"),
    "purity": (
        check_purity,
        "def example(s, i, w, r): return super().example(i, w, np.random.default_rng(np.random.randint(2**31)))",
    ),
    "fresh": (
        check_fresh_corruption,
        "def example(s, i, w, r): return super().example(i, w, np.random.default_rng(1))",
    ),
    "head": (check_questions, "def outputs(s): return [h._replace(name='other') for h in super().outputs()]"),
    "class": (check_questions, "def outputs(s): return [h._replace(size=5) for h in super().outputs()]"),
    "mean": (
        check_loss,
        "def loss(s, l, b): return {n: Loss(x.total / x.count, x.count) for n, x in super().loss(l, b).items()}",
    ),
    "padding": (
        check_gradient,
        "def loss(s, l, b): return {n: Loss(l[n].logsumexp(-1).sum(), b.targets[n].n_targets) for n in l}",
    ),
    "device": (
        check_device,
        "def loss(s, l, b): return {n: Loss(torch.zeros(()), x.count) for n, x in super().loss(l, b).items()}",
    ),
    "cut": (check_prompt, "def prompt(s, t): return super().prompt(' '.join(t.split()[:5]))"),
    "answer": (check_answer, "def answer(s, e, l, top=5): return super().answer(e, l, top)[1:]"),
}


def test_a_new_file_is_found_and_keeps_the_contract(plant, tokenizer, corpus):
    """The same planted file, with nothing broken, passes: what fails below fails for its fault."""
    name = plant(HEADER + "    pass\n")
    assert name in plugin_names("glassformer.objectives")
    for check in CHECKS:
        check(make(name, tokenizer), corpus)


def test_the_one_that_contributing_shows_keeps_the_contract(plant, tokenizer, corpus):
    """What people copy from."""
    page = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
    [body] = [b for b in page.split("```") if b.startswith("python\n# src/glassformer/objectives/last_word.py")]
    objective = make(plant(body.removeprefix("python\n")), tokenizer)
    for check in CHECKS:
        check(objective, corpus)


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_objective_is_caught(fault, plant, tokenizer, corpus):
    """Each promise, broken by a planted objective, is noticed by its own check."""
    check, method = BROKEN[fault]
    objective = make(plant(f"{HEADER}    {method}\n"), tokenizer)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check(objective, corpus)
