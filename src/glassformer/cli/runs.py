"""What runs there are, what they came to, and the page to look inside them."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from glassformer.cli.judged import said_of_pair
from glassformer.cli.look import Output, give, possible
from glassformer.cli.terminal import (
    HEADINGS,
    App,
    AsJson,
    RunPath,
    RunPaths,
    printable,
    readable,
    results,
    show,
    undecided,
)

app = App()


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="where the runs are")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """List the runs in a folder, with their results."""
    from glassformer.look.measures.results import results_of
    from glassformer.run import find_runs

    rows = [results_of(run) for run in find_runs(folder)]
    if as_json:
        show(rows)
    elif rows:
        results(rows)
    else:
        print(f"no runs in {printable(str(folder))}; make one: glassformer train mlm-demo")


@app.command()
def info(run: RunPath, as_json: AsJson = False) -> None:
    """Say what a run is: recipe, size, results, machine."""
    from glassformer.ask.run import load
    from glassformer.look.report import describe_run

    description = describe_run(load(run))
    if as_json:
        show(description)
        return
    samples = description.pop("samples")
    for key, value in description.items():
        if not isinstance(value, dict):
            print(f"{key:<14} {readable(value)}")
            continue
        for number, (name, entry) in enumerate(value.items()):
            print(f"{'' if number else key:<14} {HEADINGS.get(name, name):<14} {readable(entry, name)}")
    for sample in samples:
        print()
        for key in ("prompt", "written", "stood"):
            print(f"{key:<14} {readable(sample[key])}")


@app.command()
def compare(
    runs: RunPaths,
    output: Annotated[Path | None, typer.Option(help="the picture: FILE.png, .svg or .pdf; without it none")] = None,
    axis: Annotated[
        Literal["steps", "tokens"], typer.Option(help="along what all curves are drawn; tokens: those trained on")
    ] = "steps",
    as_json: AsJson = False,
) -> None:
    """Draw the curves of runs side by side, and print a table.

    All curves have one axis: of steps, or, where batches differ in size, of tokens.

    The gap is the validation loss minus the loss on training texts at the end: what has only been learned by heart. Of
    runs that predict labels it is said whether one is better: by the test rows where all have some, else by those of
    validation, drawn again a thousand times.
    """
    from glassformer.ask.compared import compare_labels
    from glassformer.ask.run import load
    from glassformer.look.report import compare_runs

    loaded = [load(path) for path in runs]
    rows = compare_runs(loaded, output, axis)
    differences, notes = compare_labels(loaded, [row["run"] for row in rows])
    if as_json:
        show({"runs": rows, "picture": None if output is None else str(output), "differences": differences})
    else:
        results(rows)
        for line in [*undecided(rows), *map(said_of_pair, differences)]:
            print(printable(line))
        if output is not None:
            print(printable(str(output)))
    for note in notes:
        print(printable(f"note: {note}"), file=sys.stderr)
    vocabularies = [each.codecs.vocabularies for each in loaded]
    if any(other != vocabularies[0] for other in vocabularies):
        print("note: the runs have different vocabularies, so their losses are not of the same tokens", file=sys.stderr)


@app.command()
def strategies(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN", help="runs that answer the examples of their objectives", show_default=False),
    ] = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Show all objectives side by side, by their families.

    For each objective: where a token may look, what is asked, the loss, what it is good for, and an example made by its
    own code. Runs of an objective say their answers.

    \b
    glassformer strategies runs/mlm-demo runs/seq2seq-demo --output strategies.html
    """
    possible(output)
    from glassformer.ask.run import load
    from glassformer.look.strategies import view_of

    give(view_of([load(path) for path in runs or []]), output, as_json)


@app.command()
def studio(
    runs: RunPaths,
    port: Annotated[int, typer.Option(min=0, max=65535, help="where to listen; 0: a free port")] = 0,
    host: Annotated[str, typer.Option(help="the address to listen on; others than this machine's can then ask")] = (
        "127.0.0.1"
    ),
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="open the page in a browser")] = True,
    treebank: Annotated[
        Path | None, typer.Option(help="sentences in CoNLL-U, to see which head follows which relation")
    ] = None,
) -> None:
    """Look inside runs on a local page.

    Type, mask words by a click, switch heads off, compare two runs. It listens on this machine only.

    \b
    glassformer studio runs/mlm-demo runs/seq2seq-demo
    """
    from glassformer.studio.serve import serve

    serve(runs, host, port, open_browser, treebank)
