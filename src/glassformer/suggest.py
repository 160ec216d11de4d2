"""A recipe for a text of the person's own: tokenizer, sizes and minutes chosen from the data, and said aloud."""

import functools
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glassformer.data.choice import choose_tokenizer, tokens_per_word
from glassformer.data.data_config import DataConfig
from glassformer.data.kinds import changes
from glassformer.data.layout_choice import layout_for
from glassformer.data.roles import READ, TEXT, Role
from glassformer.data.rows import read_rows
from glassformer.data.sources import read_documents
from glassformer.data.survey import SAMPLE, Survey
from glassformer.data.task_choice import place_of, task_of
from glassformer.errors import UsageError
from glassformer.model.config import presets
from glassformer.objectives import Objective, find_objective
from glassformer.own_text import is_own_text as is_own_text
from glassformer.plugins import plugin_names
from glassformer.recipe import Recipe, objective_class, parse
from glassformer.training.measure import default_device, products_per_second


def recipe_for_text(source: str, changes: dict[str, Any], say: Callable[[str], None]) -> Recipe:
    """Choose everything from the data, for the minutes asked for; `changes` (a tree) win over what is chosen. Raises
    UsageError for a text that cannot be read or is too short to learn from."""
    where = f"the recipe for {source}"
    data = parse(merged({"data": {"train": source}}, {"data": changes.get("data", {})}), where).data
    objective = str(_section(changes, "objective").get("name") or _task_of(data, say))
    survey = survey_of(data, find_objective(objective).columns)
    tree = suggestion(source, survey, changes, objective)
    named = presets().get(str(_section(changes, "model").get("preset")), {})
    tree["model"] = {key: value for key, value in tree["model"].items() if key not in named}
    recipe = parse(merged(tree, changes), where)
    for line in said(source, survey, recipe):
        say(line)
    return recipe


def _task_of(data: DataConfig, say: Callable[[str], None]) -> str:
    """The task that the data are labelled for, said; filling blanks where they are texts."""
    task = task_of(data)
    if task is None or task.name not in plugin_names("glassformer.objectives"):
        return "masked_lm"
    say(
        f"{place_of(data)}: {task.why}: taken for {task.name} (say otherwise with objective.name; masked_lm learns the "
        "texts alone)"
    )
    return task.name


def survey_of(data: DataConfig, roles: Sequence[Role] = TEXT) -> Survey:
    """A look at all training texts; of rows of several, at all of them."""
    if tuple(roles) == TEXT:
        return Survey(read_documents(data.train, layout_for(data)))
    read = [n for n, role in enumerate(roles) if role in READ]
    rows = read_rows(data.train, roles, data.train_targets, layout_for(data, roles))
    return Survey(row.cells[n] for row in rows for n in read)


def suggestion(
    source: str, survey: Survey, changes: dict[str, Any] | None = None, objective: str = "masked_lm"
) -> dict[str, Any]:
    """The choices for these texts as a recipe's tree, for the tokenizer and the minutes that the `changes` ask for."""
    wish, length = (_section(changes or {}, name) for name in ("tokenizer", "training"))
    if survey.words < 50 and survey.characters < 400:
        raise UsageError(
            f"{source} is too short to learn from: {survey.words} words in {counted(survey.texts, 'text')}",
            "a few hundred words are the least; a few hundred thousand give a useful model",
        )
    kind = find_objective(objective)
    tokenizer = choose_tokenizer(survey.sample, wish.get("kind"), kind.family != "encoder", wish.get("path"))
    per_word = tokens_per_word(tokenizer["kind"], survey.characters_per_word)
    tokens = max(1, int(survey.words * per_word))
    wanted = length.get("minutes")
    minutes = float(wanted) if isinstance(wanted, int | float) and wanted > 0 else choose_minutes(tokens)
    max_length = choose_max_length(survey.sampled_words, per_word, minutes)
    stream = bool(np.median(survey.sampled_words) * per_word > 2 * max_length) or survey.texts < 20
    if "second" in kind.columns:
        max_length = min(256, 2 * max_length)
    labelled = bool(set(kind.columns) - {"text", "source", "target"})
    if "target" in kind.columns:  # pairs are not cut: their longest must fit
        max_length = int(-(-len(survey.longest.split()) * 2 * per_word // 8) * 8 + 8)
    size = choose_size(tokens, minutes, tokenizer["vocab_size"])
    passes = min(MOST_PASSES, trained_tokens(size, minutes, tokenizer["vocab_size"]) / tokens)
    asked = EVALUATED_TOKENS // max_length
    dropout = 0.3 if labelled else 0.1 if passes > 4 else 0.0
    return {
        "description": f"made for {source if ':' in source else Path(source).name}",
        "data": {"train": source, "validation_share": choose_share(tokens)},
        "tokenizer": tokenizer | kind.tokenizer_settings(max_length),
        "objective": {"name": objective} | objective_settings(kind, stream),
        "model": size | {"max_length": max_length, "positions": "rotary", "dropout": dropout},
        "batch": {"size": choose_batch(tokens, max_length, survey.texts, stream)},
        "optimizer": {"name": "muon", "learning_rate": 2e-3, "muon_learning_rate": 0.02},
        "training": {
            "minutes": minutes,
            "max_epochs": MOST_PASSES,
            "patience": 6,
            "evaluate_units": asked,
            "evaluate_training_units": asked // 4,
        },
    }


def _section(tree: dict[str, Any], name: str) -> dict[str, Any]:
    """A section of a recipe's tree; empty where there is none, or something that is none."""
    found = tree.get(name)
    return found if isinstance(found, dict) else {}


def objective_settings(kind: type[Objective], stream: bool) -> dict[str, Any]:
    """What an objective is told beside its name, of the keys that it has."""
    wanted = {"units": "stream" if stream else "documents", "mask_rate": 0.4}
    if "target" not in kind.columns:
        wanted["too_long"] = "cut"
    return {key: value for key, value in wanted.items() if key in kind.Config.model_fields}


def said(source: str, survey: Survey, recipe: Recipe) -> list[str]:
    """What was found and what was chosen, for people."""
    tokenizer, model, training = recipe.tokenizer, recipe.model, recipe.training
    lowered = ", all letters lowered" if tokenizer.lowercase else ""
    units = {"steps": training.steps, "epochs": training.epochs, "minutes": training.minutes}
    length = next((counted(number, unit[:-1]) for unit, number in units.items() if number is not None), "1 epoch")
    different = f"{survey.distinct_words:,} different ones" if survey.is_whole else f"looked at {SAMPLE:,} characters"
    lines = [
        f"{source}: {counted(survey.texts, 'text')}, {survey.words:,} words, {different}",
        f"chosen: {tokenizer.kind} tokenizer, at most {tokenizer.vocab_size:,} tokens{lowered}; "
        f"the model reads {model.max_length} tokens at once, one before and one after the text included",
        f"chosen: {counted(model.n_layers, 'layer')} of width {model.d_model}, "
        f"{counted(recipe.batch.size, 'row')} in a batch, {length} of training",
    ]
    if objective_class(recipe).family != "encoder":
        composed = all(unicodedata.is_normalized("NFC", text) for text in survey.sample)
        lines += [text for text in [changes(tokenizer, composed)] if text]
    if recipe.data.validation is None:
        what = "of the texts are" if survey.texts > 1 else "of the text, its end, is"
        lines.append(f"chosen: {recipe.data.validation_share:.0%} {what} held out to measure on")
    if training.minutes is not None:
        lines.append(more_minutes(survey, recipe))
    return [*lines, "every choice can be changed, for example: training.minutes=30 model.d_model=384"]


def more_minutes(survey: Survey, recipe: Recipe) -> str:
    """What a larger budget would change."""
    assert recipe.training.minutes is not None
    per_word = tokens_per_word(recipe.tokenizer.kind, survey.characters_per_word)
    tokens = max(1, int(survey.words * per_word))
    now, vocab_size = recipe.training.minutes, recipe.tokenizer.vocab_size
    size = choose_size(tokens, now, vocab_size)
    passes = trained_tokens(size, now, vocab_size) / tokens
    for more in (2, 5, 15, 60):
        larger = choose_size(tokens, now * more, vocab_size)
        if larger != size:
            return (
                f"about {passes:,.1f} passes over the text; training.minutes={now * more:g} would take "
                f"{counted(larger['n_layers'], 'layer')} of width {larger['d_model']}"
            )
    if passes > MOST_PASSES:
        return f"{MOST_PASSES} passes over the text are enough: more minutes would buy nothing"
    return f"about {passes:,.1f} passes over the text; more minutes would buy more of them"


def counted(number: int | float, what: str) -> str:
    """`1 layer`, `2 layers`."""
    return f"{number:,g} {what}{'' if number == 1 else 's'}" if number < 1e5 else f"{number:,.0f} {what}s"


def choose_max_length(lengths: np.ndarray, tokens_per_word: float, minutes: float = 15.0) -> int:
    """Long enough for 99 of 100 texts, in eights, between 16 and 128; for a few minutes of pieces at most 64."""
    wanted = float(np.quantile(lengths, 0.99)) * tokens_per_word + 2
    most = 64 if minutes < SHORT_MINUTES and tokens_per_word < 3 else 128
    return int(min(most, max(16, -(-wanted // 8) * 8)))


SHORT_MINUTES = 10
MOST_PASSES = 60
"""Passes over a text beyond which a model mostly learns it by heart."""
EVALUATED_TOKENS = 2**15
"""Tokens of the validation part that are read at each evaluation; `glassformer evaluate` reads all."""
LADDER = ((2, 128, 4), (3, 192, 6), (4, 256, 8), (6, 384, 6), (8, 512, 8))
"""(layers, width, heads) of the models that are chosen from."""
TOKENS_PER_PARAMETER = 4.0
"""So many tokens at least a model must be trained on for each weight of its blocks, in the time that there is; a larger
one would have learned less by then."""
TEXT_PER_PARAMETER = 0.3
"""So many tokens at least the text must have for each weight of the blocks: a larger model learns it by heart."""
EFFICIENCY = 0.4
"""What training reaches of the speed of one product."""
NOT_TRAINING = 20.0
"""Seconds of a budget that go to reading, measuring, evaluating and drawing."""


def choose_size(tokens: int, minutes: float, vocab_size: int) -> dict[str, int]:
    """The largest model that the text can teach, and the time train; the smallest where none is."""
    fitting = [LADDER[0]]
    for n_layers, d_model, n_heads in LADDER[1:]:
        size, weights = _sizes(n_layers, d_model, n_heads), 12 * n_layers * d_model**2
        enough_text = tokens >= TEXT_PER_PARAMETER * weights
        if enough_text and trained_tokens(size, minutes, vocab_size) >= TOKENS_PER_PARAMETER * weights:
            fitting.append((n_layers, d_model, n_heads))
    return _sizes(*fitting[-1])


def _sizes(n_layers: int, d_model: int, n_heads: int) -> dict[str, int]:
    return {"n_layers": n_layers, "d_model": d_model, "n_heads": n_heads, "d_ff": 4 * d_model}


def trained_tokens(size: dict[str, int], minutes: float, vocab_size: int) -> float:
    """About how many tokens a model of this size is trained on here in so many minutes. A token takes three products
    (forward, and two backward) with each weight of the blocks, and where it is asked with those of the head."""
    products = 3 * (12 * size["n_layers"] * size["d_model"] ** 2 + 0.4 * vocab_size * size["d_model"])
    seconds = max(5.0, 60 * minutes - NOT_TRAINING)
    return EFFICIENCY * speed_of_this_machine() * seconds / products


@functools.cache
def speed_of_this_machine() -> float:
    """Products a second, in the faster of the number formats."""
    device = default_device()
    return max(products_per_second(device, dtype) for dtype in (torch.float32, torch.bfloat16))


def choose_batch(tokens: int, max_length: int, texts: int, stream: bool) -> int:
    """At least about thirty steps in an epoch, at most 32 rows, and 8 where there are so many."""
    units = tokens // max_length if stream else texts
    return int(max(1, min(32, max(8, units * 0.8 // 30), units * 0.8)))


def choose_share(tokens: int) -> float:
    """How much is held out: of a small text more, since a few questions tell nothing."""
    return 0.2 if tokens < 5_000 else 0.1 if tokens < 200_000 else 0.05


def choose_minutes(tokens: int) -> float:
    """From half a minute for a page to 15 for a million words and more."""
    return 0.5 if tokens < 10_000 else float(min(15, max(1, round(tokens / 70_000))))


def merged(tree: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`changes` over `tree`, section by section; a length in other units replaces the chosen one."""
    result = dict(tree)
    for key, value in changes.items():
        known = result.get(key)
        result[key] = merged(known, value) if isinstance(value, dict) and isinstance(known, dict) else value
    if {"steps", "epochs"} & set(changes):
        for length in ("minutes", "max_epochs"):
            result.pop(length, None)
    return result
