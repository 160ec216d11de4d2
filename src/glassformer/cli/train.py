"""Train, and what is asked before any training."""

import math
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from glassformer.cli import completion
from glassformer.cli.terminal import (
    App,
    AsJson,
    Changes,
    check,
    describe_type,
    key_in_lines,
    printable,
    show,
    table,
)
from glassformer.errors import UsageError

app = App()


@app.command()
def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE",
            help="a shipped recipe, a YAML file, or a text file or folder of your own",
            autocompletion=completion.recipes,
        ),
    ] = None,
    changes: Changes = None,
    run: Annotated[Path | None, typer.Option(help="the run directory; without it runs/NAME")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="go on where the run stopped; begin where there is none")
    ] = False,
    pretrain_first: Annotated[
        bool,
        typer.Option("--pretrain-first", help="learn the words of the task's own texts first"),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model by a recipe, or on a text of your own.

    Ctrl-C saves everything, and --resume goes on from there. training.devices=2 trains with two processes.

    \b
    glassformer train mlm-demo training.steps=500
    glassformer train my.txt
    glassformer train --resume --run runs/my
    glassformer train classification-sst2 --pretrain-first pretrain.training.epochs=40
    """
    if pretrain_first:
        if recipe is None or "=" in recipe:
            raise UsageError("--pretrain-first needs the recipe of the task", "name it before the changes")
        of_task = [change for change in changes or [] if not change.startswith("pretrain.")]
        check(recipe, of_task)
    if resume and run is None and (recipe is None or "=" in recipe):
        raise UsageError("--resume needs to know which run", "name it: glassformer train --resume --run runs/NAME")
    if not pretrain_first:
        check(recipe, changes, run if resume else None)
    import psutil

    from glassformer import launch
    from glassformer.look.measures.results import best as best_of
    from glassformer.training.display import TerminalDisplay
    from glassformer.training.processes import started_together

    display, began = TerminalDisplay(), psutil.Process().create_time()
    if pretrain_first:
        from glassformer.pretrain import train_in_two_stages

        assert recipe is not None
        finished = train_in_two_stages(recipe, changes or [], run=run, resume=resume, display=display, began=began)
    else:
        finished = launch.train(recipe, changes or [], run=run, resume=resume, display=display, began=began)
    if started_together()[0] > 0:
        return  # the first of the processes speaks for all
    best = best_of(finished.metrics())
    if as_json:
        found = None
        if best is not None:
            found = {key: best.get(key) for key in ("step", "loss", "loss_interval", "count", "verdict")}
        show({"run": str(finished.path), "best": found})
        return
    path = printable(str(finished.path))
    if best is not None:
        which = "best validation" if best.get("tells", True) else "validation"
        decided = finished.recipe.training.best
        by = "" if decided in ("loss", "auto") else f", by {decided} {best.get(decided, math.nan):.4f}"
        print(f"{which} loss {best['loss']:.4f} at step {best['step']}{by}, in {path}")
        if "verdict" in best:
            print(printable(best["verdict"]))
    print(f"pictures: {printable(str(finished.directory.plots))}")
    what, text = finished.objective.to_try
    print(f"try: glassformer {what} {path}" + (f' "{printable(text)}"' if text else ""))


def numbers_of_labels(text: str) -> list[int | None]:
    """`8,32,all` as numbers; None is all. Raises UsageError."""
    found: list[int | None] = []
    for part in text.split(","):
        if part.strip() != "all" and not (part.strip().isdecimal() and int(part) > 0):
            raise UsageError(f"--labels {text}: {part!r} is no number of labels", "for example: --labels 8,32,128,all")
        found.append(None if part.strip() == "all" else int(part))
    return found


@app.command()
def curve(
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE", help="a recipe or table with labels", autocompletion=completion.recipes),
    ],
    changes: Changes = None,
    labels: Annotated[str, typer.Option(help="numbers of labelled rows to learn from; all")] = "8,32,128,512,all",
    start: Annotated[
        str, typer.Option("--from", help="what to begin with: none, runs or folders; self: the task's own texts first")
    ] = "none,self",
    seeds: Annotated[int, typer.Option(min=1, help="runs of each, each on other rows")] = 3,
    run: Annotated[Path | None, typer.Option(help="the folder; without it runs/NAME-curve")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what pre-training is worth: score against labels.

    Trains a grid of runs; the same command goes on where it stopped. Writes curve.json and curve.png.

    \b
    glassformer curve classification-demo --labels 16,64,256 --from none,runs/mlm-demo
    """
    numbers = numbers_of_labels(labels)
    check(recipe, changes)
    from glassformer.curve import Grid, curve
    from glassformer.own_text import run_name

    folder = run or Path("runs") / f"{run_name(recipe)}-curve"
    starts = list(dict.fromkeys(part.strip() for part in start.split(",") if part.strip()))
    if not starts:
        raise UsageError("--from names nothing", "for example: --from none,runs/my")
    grid = Grid(recipe, list(changes or []), numbers, starts, seeds)
    found = curve(grid, folder, lambda line: print(printable(line), file=sys.stderr))
    if as_json:
        show(found)
        return
    ends = ("low", "high")
    rows = [
        {"start": name, "labels": point["labels"], found["metric"]: point["mean"], **{end: point[end] for end in ends}}
        for key in ("starts", "baselines")
        for name, points in found[key].items()
        for point in points
    ]
    table(rows)
    print(printable("\n".join([*found["sentences"], f"picture: {folder / 'curve.png'}"])))


@app.command()
def preview(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="a shipped recipe, a YAML file, or a text of your own",
            autocompletion=completion.recipes,
        ),
    ],
    changes: Changes = None,
    count: Annotated[int, typer.Option(min=1, help="examples")] = 3,
    output: Annotated[Path | None, typer.Option(help="FILE.png, .svg or .pdf: the same as a picture")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a model is given: tokens, targets, masks.

    \b
    glassformer preview mlm-demo
    glassformer preview mlm-demo objective.name=permutation_lm --output order.png
    """
    check(recipe, changes)
    from glassformer.launch import find_recipe
    from glassformer.look import preview as look
    from glassformer.look.pictures.figures import save

    name, found = find_recipe(recipe, list(changes or []), lambda line: None)
    shown = look.previews(found, count, lambda line: print(printable(line), file=sys.stderr))
    if output is not None:
        objective = found.objective.model_dump()["name"]
        save(look.figure(shown, f"{name}: {objective}"), output)
    if as_json:
        show(shown)
    elif output is not None:
        print(printable(str(output)))
    else:
        print(printable("\n\n".join(look.as_text(one) for one in shown)))


@app.command()
def doctor(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="a shipped recipe, a YAML file, or a text of your own",
            autocompletion=completion.recipes,
        ),
    ],
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Examine a recipe before any training: data, cost, size, time.

    Trains for a few seconds on this machine to measure memory and time; nothing of it is kept.
    """
    check(recipe, changes)
    from glassformer import doctor as examination
    from glassformer.launch import find_recipe

    def say(line: str) -> None:
        print(printable(line), file=sys.stderr)

    _, found = find_recipe(recipe, list(changes or []), say)
    report = examination.examine(found, say)
    if as_json:
        show(report)
    else:
        print("\n".join(examination.as_text(report, found)))


@app.command()
def demo(
    run: Annotated[Path, typer.Option(help="where the first part goes")] = Path("runs/mlm-demo"),
    pairs: Annotated[Path, typer.Option(help="where the second goes")] = Path("runs/seq2seq-demo"),
) -> None:
    """Train on the built-in texts, and show what was learned."""
    from glassformer.demo import demo as show_facts
    from glassformer.demo import demo_pairs

    show_facts(run)
    demo_pairs(pairs)


@app.command()
def recipes(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE",
            help="a shipped recipe or a YAML file: show its every key; or a preset of model.preset: its parts",
            autocompletion=completion.recipes,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the shipped recipes, or every key of one.

    With RECIPE: each key with its value there, its type, its default and its meaning.
    """
    from glassformer import recipe as shipped
    from glassformer.model.config import preset_notes

    if name is None:
        rows: list[dict[str, Any]] = [
            {"recipe": each, "description": shipped.read(each).description} for each in shipped.shipped()
        ]
    else:
        tree = shipped.preset_tree(name) or shipped.read_tree(name)
        found = shipped.parse(tree)
        rows = [
            {
                "key": key.name,
                "value": shipped.value_of(found, key.name),
                "type": describe_type(key.type),
                "default": key.default,
                "meaning": key.meaning,
            }
            for key in shipped.keys(tree)
            if shipped.preset_tree(name) is None or key.name.removeprefix("model.") in tree["model"]
        ]
        if (note := preset_notes().get(name)) is not None:
            rows[0]["meaning"] = f"of {name} this is different: {note}"
    if as_json:
        show(rows)
    elif name is None:
        table(rows)
    else:
        print("\n".join(key_in_lines(**row) for row in rows))
