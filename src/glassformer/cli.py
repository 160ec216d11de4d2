"""The command line: parses, calls, prints. torch and everything that needs it is imported inside the commands, so that
`--help` answers at once."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from glassformer.errors import GlassformerError, UsageError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Train Transformers that you can see through.",
)

RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="a run directory, such as runs/mlm-demo")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON for a program to read")]
Changes = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE ...]", help="changes, such as model.d_model=256")
]


def main() -> None:
    """Run a command. A person's mistake is a line or two on standard error, exit code 2 (wrong use) or 1 (failed)."""
    try:
        app()
    except GlassformerError as error:
        print(f"error: {printable(error.what)}", file=sys.stderr)
        if error.mend:
            print(f"  {printable(error.mend)}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        sys.stderr.close()
        sys.exit(1)


def printable(text: str) -> str:
    """Text that any terminal can take: what cannot be encoded is escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def show(value: Any) -> None:
    """One JSON value on one line."""
    print(json.dumps(value, ensure_ascii=True))


def table(rows: list[dict[str, Any]]) -> None:
    """Rows of equal keys as a table of plain text."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, header_style="bold")
    for key in rows[0] if rows else []:
        drawn.add_column(key.replace("_", " "), justify="right" if isinstance(rows[0][key], int | float) else "left")
    for row in rows:
        drawn.add_row(*(Text(readable(value)) for value in row.values()))
    console = Console()
    console = console if console.is_terminal else Console(width=200)  # a file or a pipe has no edge to wrap at
    console.print(drawn)


def readable(value: Any) -> str:
    """A number as people write it."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else printable(str(value))


@app.command()
def train(
    recipe: Annotated[
        str | None, typer.Argument(help="a shipped recipe, a YAML file, or a text file or folder of your own")
    ] = None,
    changes: Changes = None,
    run: Annotated[Path | None, typer.Option(help="the run directory; default runs/NAME")] = None,
    resume: Annotated[bool, typer.Option(help="go on where the run stopped")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model. Ctrl-C saves; --resume goes on."""
    from glassformer import launch
    from glassformer.training.display import TerminalDisplay

    keys = list(changes or [])
    if recipe is not None and resume and "=" in recipe and not Path(recipe).exists():
        keys, recipe = [recipe, *keys], None
    finished = launch.train(recipe, keys, run=run, resume=resume, display=TerminalDisplay())
    evaluations = [record for record in finished.metrics() if record["event"] == "evaluation"]
    best = min(evaluations, key=lambda record: record["loss"])
    if as_json:
        show({"run": str(finished.path), "best": {"step": best["step"], "loss": best["loss"]}})
        return
    print(f"best validation loss {best['loss']:.4f} at step {best['step']}, in {printable(str(finished.path))}")
    print(f"curves and attention: {printable(str(finished.directory.plots))}")
    print(f'try: glassformer fill {printable(str(finished.path))} "a text with a [MASK]"')


@app.command()
def fill(
    run: RunPath,
    texts: Annotated[list[str] | None, typer.Argument(metavar="[TEXT ...]", help="texts with [MASK]")] = None,
    top: Annotated[int, typer.Option(min=1, help="candidates for each blank")] = 5,
    file: Annotated[Path | None, typer.Option(help="a file with one text in each line")] = None,
    as_json: AsJson = False,
) -> None:
    """Fill blanks: from arguments, a file, standard input, or interactively. With --json one object per text."""
    from glassformer.predict import load

    trained = load(run)
    for text in texts_from(texts, file):
        filled = trained.fill(text, top)
        unknown = trained.unknown_words(text)
        if unknown:
            print(f"not in the vocabulary, read as unknown: {printable(', '.join(unknown))}", file=sys.stderr)
        if as_json:
            show(filled.record())
            continue
        print(printable(text))
        for blank in filled.blanks:
            words = "   ".join(f"{c.token} {c.probability:.1%}" for c in blank.candidates)
            print(f"  {printable(words)}")


def texts_from(texts: list[str] | None, file: Path | None) -> Iterator[str]:
    """Texts from arguments, a file, standard input, or one by one from a person. Blank lines are passed over."""
    if texts and file:
        raise UsageError("texts and --file are both given", "use one of them")
    if texts:
        yield from texts
    elif file is not None:
        from glassformer.data.sources import read_documents

        yield from read_documents(str(file), document="line")
    elif sys.stdin.isatty():
        yield from asked_texts()
    else:
        yield from (line.strip() for line in sys.stdin if line.strip())


def asked_texts() -> Iterator[str]:
    """Ask until an empty line or the end of input."""
    print("a text with [MASK], or an empty line to end", file=sys.stderr)
    while True:
        try:
            text = input("> ").strip()
        except EOFError:
            return
        if not text:
            return
        yield text


@app.command()
def evaluate(
    run: RunPath,
    split: Annotated[
        Literal["train", "validation", "test"], typer.Option(help="which part of the data")
    ] = "validation",
    as_json: AsJson = False,
) -> None:
    """Masked loss, perplexity, accuracy and top-5 accuracy on fixed masks."""
    from glassformer.predict import load

    result = load(run).evaluate(split)
    if as_json:
        show(result)
    else:
        table([result])


@app.command()
def attention(
    run: RunPath,
    text: Annotated[str, typer.Argument(help="a text, with or without [MASK]")],
    output: Annotated[Path, typer.Option(help="FILE.png, .svg or .pdf for a picture, .json or .npz for the numbers")],
    layer: Annotated[int | None, typer.Option(help="one layer, counted from 0; default all")] = None,
    head: Annotated[str, typer.Option(help="a head counted from 0, all, or mean")] = "all",
    view: Annotated[
        Literal["heatmap", "overlay"],
        typer.Option(help="heatmap: who attends to whom; overlay: the text, its blank ringed, and the guesses"),
    ] = "heatmap",
    true: Annotated[str | None, typer.Option(help="overlay: the right word, for the caption")] = None,
) -> None:
    """Draw the attention of a text, or write it as numbers."""
    from glassformer.look import report
    from glassformer.predict import load

    report.draw_attention(load(run), text, output, layer, head_choice(head), view, true)
    print(printable(str(output)))


def head_choice(head: str) -> int | Literal["all", "mean"]:
    """--head as a number or a word. Raises UsageError for anything else."""
    if head == "all":
        return "all"
    if head == "mean":
        return "mean"
    if head.isdecimal():
        return int(head)
    raise UsageError(f"--head {head!r} is neither a number nor all nor mean")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN ...", help="two or more run directories")],
    output: Annotated[Path, typer.Option(help="the picture: FILE.png, .svg or .pdf")],
    as_json: AsJson = False,
) -> None:
    """Training and validation curves side by side, and a table."""
    from glassformer.look.report import compare_runs
    from glassformer.predict import load

    rows = compare_runs([load(path) for path in runs], output)
    if as_json:
        show({"runs": rows, "picture": str(output)})
    else:
        table(rows)
        print(printable(str(output)))


@app.command()
def doctor(
    recipe: Annotated[str, typer.Argument(help="a shipped recipe, a YAML file, or a text of your own")],
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Before any training: what the data is like, what the settings cost, how big, how long."""
    from glassformer import doctor as examination
    from glassformer.launch import find_recipe

    def say(line: str) -> None:
        print(printable(line), file=sys.stderr)

    _, found = find_recipe(recipe, list(changes or []), say)
    report = examination.examine(found, say)
    if as_json:
        show(report)
    else:
        print("\n".join(examination.in_words(report, found)))


@app.command()
def demo(
    run: Annotated[Path, typer.Option(help="the run directory")] = Path("runs/mlm-demo"),
) -> None:
    """Train on the built-in facts, and show what was learned."""
    from glassformer.demo import demo as show_demo

    show_demo(run)


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="a shipped recipe or a YAML file: show its every key")] = None,
    as_json: AsJson = False,
) -> None:
    """The shipped recipes, a line each; or every key of one, with type, value and meaning."""
    from glassformer import recipe as shipped

    if name is None:
        rows: list[dict[str, Any]] = [
            {"recipe": each, "description": shipped.read(each).description} for each in shipped.shipped()
        ]
    else:
        tree = shipped.read_tree(name)
        found = shipped.parse(tree)
        rows = [
            {"key": key.name, "value": shipped.value_of(found, key.name), "type": key.type, "meaning": key.meaning}
            for key in shipped.keys(tree)
        ]
    if as_json:
        show(rows)
    else:
        table(rows)


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(help="where the runs are")] = Path("runs"), as_json: AsJson = False
) -> None:
    """The runs in a folder, a line each."""
    from glassformer.look.curves import comparison_table
    from glassformer.run import find_runs

    found = find_runs(folder)
    rows = comparison_table({run.path.name: run.metrics() for run in found}) if found else []
    if as_json:
        show(rows)
    elif rows:
        table(rows)
    else:
        print(f"no runs in {printable(str(folder))}; make one: glassformer train mlm-demo")


@app.command()
def info(run: RunPath, as_json: AsJson = False) -> None:
    """What a run is: recipe, size, data, results, machine."""
    from glassformer.look.report import describe_run
    from glassformer.predict import load

    description = describe_run(load(run))
    if as_json:
        show(description)
        return
    for key, value in description.items():
        print(f"{key}:")
        for name, entry in value.items() if isinstance(value, dict) else [("", value)]:
            print(f"  {name:<24} {readable(entry)}" if name else f"  {readable(entry)}")


if __name__ == "__main__":
    main()
