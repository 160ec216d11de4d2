"""What every finished run gets: its curves, guesses with the attention behind them, and texts that it has written."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from glassformer.answers import ReadsPictures
from glassformer.ask.attention import Attention, Kind
from glassformer.ask.run import Run
from glassformer.ask.samples import stored_samples, write_samples
from glassformer.assemble import parameters_of
from glassformer.errors import GlassformerError, UsageError
from glassformer.look.measures.attention import attention_of, chosen, describe_choice, numbers
from glassformer.look.measures.results import best, comparison_table, results_of
from glassformer.look.measures.words import as_token
from glassformer.look.pictures.curves import Axis, curves
from glassformer.look.pictures.figures import FORMATS, save
from glassformer.look.pictures.heatmaps import heatmap
from glassformer.look.pictures.overlay import overlay_of
from glassformer.look.pictures.patches import on_picture_of
from glassformer.objectives import Prompt
from glassformer.run import checkpoint_steps

PICTURES = 4
LONGEST = 48
"""Longer texts give pictures that nobody can read."""


def draw_report(run: Run) -> list[Path]:
    """Curves, and for a few validation texts the heatmaps and the overlay, into the run's `plots`; of a model that
    generates as many texts as `training.samples` says, into its `samples`."""
    write_samples(run, run.recipe.training.samples)
    plots = run.directory.plots
    pictures = [save(curves({run.path.name: run.metrics()}), plots / "curves.png")]
    if run.model.why_not("attention_weights") is not None:
        return pictures
    for number, prompt in enumerate(sample_prompts(run, PICTURES)):
        seen = run.attention_of(prompt)
        blanks = seen.filled.blanks if seen.filled and run.objective.of(prompt.example).asks_blanks else []
        marked = [blank.position for blank in blanks]
        member = run.objective.of(prompt.example)
        if isinstance(member, ReadsPictures):
            pictures.append(save(on_picture_of(member, prompt, seen), plots / f"overlay-{number}.png"))
        figure = heatmap(seen.weights, seen.tokens, seen.keys or seen.tokens, marked=marked)
        pictures.append(save(figure, plots / f"attention-{number}.png"))
        if marked:
            pictures.append(save(overlay_of(seen), plots / f"overlay-{number}.png"))
    return pictures


def sample_prompts(run: Run, number: int) -> list[Prompt]:
    """Validation units with their fixed corruption, short enough to be read, spread over the data."""
    questions = run.questions("validation")
    dataset = questions.dataset
    readable = [int(i) for i in questions.chosen if 4 <= dataset.lengths[i] <= LONGEST]
    if not readable:
        readable = [int(i) for i in questions.chosen]
    chosen = readable[:: max(1, len(readable) // number)][:number]
    examples = [questions.example(index) for index in chosen]
    return [run.objective.of(example).as_prompt(example) for example in examples]


NUMBERS = (".json", ".npz")
KINDS: dict[Kind, str] = {
    "self": "Self-attention of the encoder",
    "decoder": "Self-attention of the decoder, from each token that it reads",
    "cross": "Cross-attention, from each token that is written",
}
"""What the picture of a model with several kinds of attention is called."""


def draw_attention(
    run: Run,
    text: str,
    output: Path,
    layer: int | None = None,
    head: int | Literal["all", "mean"] = "all",
    view: Literal["heatmap", "overlay"] = "heatmap",
    true: str | None = None,
    blank: int = 0,
    kind: Kind = "self",
    target: str | None = None,
) -> None:
    """Attention of a text as a picture (.png, .svg, .pdf) or as numbers (.json, .npz: tokens, and weights as layers x
    heads x query x key, of the chosen layer and head only). `true` and `blank` are for the overlay, `kind` and `target`
    are those of `Run.attention`.

    Raises UsageError for a layer, head, blank or format that is not there, and for an overlay of a text without a
    blank; GlassformerError when the file cannot be written.
    """
    suffix = output.suffix.lower()
    if suffix not in (*FORMATS, *NUMBERS):
        raise UsageError(
            f"cannot write attention as {output.suffix or output.name!r}",
            f"a picture ends in {', '.join(FORMATS)}; the numbers end in {', '.join(NUMBERS)}",
        )
    if true is not None and view != "overlay":
        raise UsageError("the right word is said only in the overlay", "add --view overlay")
    seen = attention_of(run, text, kind, target)
    prompt = run.objective.prompt(text)
    member = run.objective.of(prompt.example)
    asks_blanks = member.asks_blanks
    picked = chosen(seen, layer, head)
    if suffix in NUMBERS:
        write_numbers(numbers(text, seen, layer, head, kind), picked, output)
    elif view == "overlay" and isinstance(member, ReadsPictures):
        save(on_picture_of(member, prompt, picked, layer), output)
    elif view == "overlay":
        if not asks_blanks:
            raise UsageError(
                "an overlay rings a blank among the words, and this model has none there", "draw --view heatmap"
            )
        word = None if true is None else as_token(run.tokenizer, true)
        save(overlay_of(picked, word, blank, describe_choice(seen, layer, head)), output)
    else:
        marked = [blank.position for blank in seen.filled.blanks] if seen.filled and asks_blanks else []
        title = KINDS[kind] if len(run.recipe.model.stacks) > 1 else ""
        keys = seen.keys or seen.tokens
        save(heatmap(seen.weights, seen.tokens, keys, layer=layer, head=head, title=title, marked=marked), output)


def write_numbers(found: dict[str, Any], picked: Attention, output: Path) -> None:
    """The same as a file: .json, or the exact arrays as .npz. Raises GlassformerError when it cannot be written."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("wb") as file:
            if output.suffix.lower() == ".npz":
                tokens, keys = np.array(picked.tokens), np.array(picked.keys or picked.tokens)
                np.savez_compressed(file, weights=picked.weights, tokens=tokens, keys=keys)
            else:
                file.write(json.dumps(found).encode())
    except OSError as error:
        raise GlassformerError(f"cannot write {output}: {error.strerror or error}", "choose another --output") from None


def compare_runs(runs: list[Run], output: Path | None, axis: Axis = "steps") -> list[dict[str, Any]]:
    """The curves of several runs side by side along one axis (where there is an `output`), and their table. Raises
    UsageError for runs of one name."""
    names = [run.path.name for run in runs]
    if len(set(names)) < len(names):
        names = [str(run.path) for run in runs]
    if len(set(names)) < len(names):
        raise UsageError("a run is given twice")
    records = {name: run.metrics() for name, run in zip(names, runs, strict=True)}
    if output is not None:
        save(curves(records, axis=axis), output)
    return comparison_table(records)


def describe_run(run: Run) -> dict[str, Any]:
    """What a run is, in a few numbers."""
    recipe, records = run.recipe, run.metrics()
    results = results_of(run.directory)
    environment = run.directory.environment()
    model = recipe.model.model_dump()
    return {
        "description": recipe.description or "-",
        "objective": recipe.objective.model_dump()["name"],
        "parameters": parameters_of(recipe, run.objective),
        "vocabulary": None if run.codecs.text is None else run.codecs.text.vocab_size,
        "model": {key: model[key] for key in ("n_layers", "d_model", "n_heads", "d_ff", "max_length")},
        "training": {key: getattr(recipe.training, key) for key in ("steps", "device", "precision", "compile")},
        "results": {key: value for key, value in results.items() if key != "run"},
        "verdict": (best(records) or {}).get("verdict", "-"),
        "machine": {key: environment.get(key) for key in ("platform", "cpu", "cores", "memory_gb")},
        "samples": stored_samples(run.directory),
        "checkpoints": [f"step-{step}" for step in checkpoint_steps(run.directory)],
    }
