"""What every command shares: how texts come in, and how answers and complaints are printed."""

import itertools
import json
import math
import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
import yaml
from typer.core import TyperCommand

from glassformer.cli import completion
from glassformer.errors import GlassformerError, UsageError
from glassformer.formatting import loss_within, percent, share_within, without_marks
from glassformer.plugins import plugin_names
from glassformer.progress import stoppable

if TYPE_CHECKING:
    from glassformer.ask.run import Run

RunPath = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="a run directory, such as runs/mlm-demo", autocompletion=completion.runs),
]
RunPaths = Annotated[
    list[Path],
    typer.Argument(metavar="RUN", help="the run directories, one after another", autocompletion=completion.runs),
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON for a program to read")]
Changes = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="changes to the recipe, such as model.d_model=256", show_default=False),
]


class RunFirst(TyperCommand):
    """A command that looks whether the runs it is to open are there, before it loads anything that takes time."""

    def invoke(self, ctx: Any) -> Any:
        """Raises UsageError for a run that is not there."""
        for name in ("run", "runs"):
            given = ctx.params.get(name)
            wanted = [param for param in self.params if param.name == name and param.param_type_name == "argument"]
            if given and wanted and self.name != "import":
                from glassformer.run import RunDirectory

                for path in [given] if isinstance(given, str | Path) else given:
                    RunDirectory.open(Path(path))
        return super().invoke(ctx)


class App(typer.Typer):
    """A group of commands, each a RunFirst."""

    def command(self, *given: Any, **settings: Any) -> Any:
        """As Typer's."""
        return super().command(*given, **({"cls": RunFirst} | settings))


def check(recipe: str | None, changes: list[str] | None, run: Path | None = None) -> None:
    """Raises UsageError for a wrong name, key or value, before anything that takes time is loaded. `run` is one that is
    gone on with: its own recipe decides which keys there are."""
    from glassformer.own_text import check_words, is_change, which_recipe
    from glassformer.recipe import apply_changes, check_values, read_tree
    from glassformer.run import RunDirectory

    if run is not None and (run / "recipe.yaml").is_file():
        asked = [*([recipe] if recipe is not None and is_change(recipe) else []), *(changes or [])]
        check_values(apply_changes(read_tree(str(run / "recipe.yaml")), asked))
    elif run is not None and (recipe is None or is_change(recipe)):
        RunDirectory.open(run)
    elif recipe is None:
        raise which_recipe()
    else:
        check_words(recipe, changes or [])


def complain(error: GlassformerError) -> None:
    """What is wrong, and the mend, on standard error."""
    print(f"{error.label}{printable(error.what)}", file=sys.stderr)
    if error.mend:
        print(f"  {printable(error.mend)}", file=sys.stderr)


def printable(text: str, exact: bool = False) -> str:
    """Text that any terminal can take: what cannot be encoded, and what would steer the terminal, is escaped. Tokens
    are shown as words, unless the text is `exact`."""
    text = text if exact else without_marks(text)
    encoding = sys.stdout.encoding or "utf-8"
    shown = text.encode(encoding, "backslashreplace").decode(encoding)
    return "".join(c if (c >= " " and not "\x7f" <= c <= "\x9f") or c in "\n\t" else f"\\x{ord(c):02x}" for c in shown)


def show(value: Any) -> None:
    """One JSON value on one line."""
    print(json.dumps(value, ensure_ascii=True))


PATIENCE = 2.0
"""Seconds of work without a word."""


@contextmanager
def patience() -> Iterator[None]:
    """While open, long work says on standard error how far it is: in a terminal on one line that is gone at the end,
    elsewhere a line every ten seconds."""
    live = sys.stderr.isatty()
    began = told = time.monotonic()

    def tell(done: int, of: int) -> None:
        nonlocal told
        now = time.monotonic()
        if of and now - began >= PATIENCE and now - told >= (0.2 if live else 10.0):
            told = now
            print(f"{done:,} of {of:,}", end="\x1b[K\r" if live else "\n", file=sys.stderr, flush=True)

    try:
        with stoppable(tell):
            yield
    finally:
        if live and told > began:
            print(end="\x1b[K", file=sys.stderr, flush=True)


def table(rows: list[dict[str, Any]]) -> None:
    """Rows of equal keys as a table of plain text. In a terminal what has no room is broken, not left out."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    console = console if console.is_terminal else Console(width=200)  # a file or a pipe has no edge to wrap at
    drawn = Table(box=None, header_style="bold")
    for key in rows[0]:
        heading = HEADINGS.get(key, key.replace("_", " "))
        if any(isinstance(row[key], int | float) for row in rows):
            over = heading.replace(" ", "\n") if console.is_terminal else heading  # numbers are narrow
            drawn.add_column(over, justify="right", overflow="fold")
        else:
            drawn.add_column(heading, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(readable(value, key)) for key, value in row.items()))
    first = [next(iter(rows[0])), *(str(next(iter(row.values()))) for row in rows)]  # its heading is not broken either
    drawn.columns[0].min_width = min(NAME_WIDTH, max(map(len, first)))
    console.print(drawn)


def describe_evaluation(found: dict[str, Any]) -> dict[str, str]:
    """An evaluation for people: every mean with its interval, and what was not asked."""
    said = {"split": str(found["split"]), "loss": loss_within(found["loss"], found.get("loss_interval"))}
    measured = {*plugin_names("glassformer.metrics"), "bits_per_byte", "pseudo_bits_per_byte"}
    for key, value in found.items():
        kind = key.split("/")[-1]
        if kind in found.get("scores", ()):
            continue  # said beside the lines to beat
        if kind == "accuracy":
            said[key] = share_within(value, found.get(f"{key}_interval"))
        elif kind == "accuracy_of_all_words":
            said[key] = f"{percent(value)}, unknown words counted as wrong"
        elif kind in measured or (kind == "loss" and key != "loss"):
            said[key] = readable(value, key)
    said["questions"] = f"{found['count']:,} in {found['asked_in']}"
    if found["unknown"]:
        said["unknown words"] = f"{found['unknown']:,} ({percent(found['unknown_share'])} of the words): never asked"
    if "most_frequent_guess" in found:
        guess = found["most_frequent_guess"]
        said["guessed most"] = f"{guess['token']}: {percent(guess['share'])}, right in {percent(guess['right'])}"
    if "designated_blanks" in found:
        blanks = found["designated_blanks"]
        said["questions"] += ", words drawn at random by the recipe's masking, whatever they are"
        said["designated blanks"] = (
            f"loss {blanks['loss']:.4f}, {percent(blanks['accuracy'])} right: the word that the texts mark in each "
            f"sentence, {blanks['count']:,} in all"
        )
    if "loss_with_other_sources" in found:
        said["loss_with_other_sources"] = readable(found["loss_with_other_sources"])
    return said


def results(rows: list[dict[str, Any]]) -> None:
    """Runs and their results, as many columns as a narrow terminal takes (--json has the others), and below them the
    verdict of each."""
    hidden = ("last_loss", "tokens_seen", "loss_interval", "count", "verdict")
    table([{key: value for key, value in row.items() if key not in hidden} for row in rows])
    for row in rows:
        if row["verdict"] is not None:
            print(printable(f"{row['run']}: {row['verdict']}"))


def undecided(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each pair of runs of which the questions cannot tell the better one: neither loss lies outside the
    other's interval."""
    told = [row for row in rows if row["loss_interval"] is not None]
    return [
        f"{one['run']} and {other['run']}: their questions ({one['count']:,} and {other['count']:,}) cannot tell which "
        "is better, each loss lies in the other's interval"
        for one, other in itertools.combinations(told, 2)
        if within(one["best_loss"], other) and within(other["best_loss"], one)
    ]


def within(loss: float, row: dict[str, Any]) -> bool:
    """Whether a loss lies in the interval of another run's."""
    low, high = row["loss_interval"]
    return bool(low <= loss <= high)


NAME_WIDTH = 36
"""Characters of the first column that a narrow terminal keeps on one line."""

HEADINGS = {"top5_accuracy": "top-5 accuracy", "elapsed": "seconds", "count": "questions", "entropy": "entropy (nats)"}


def readable(value: Any, key: str = "") -> str:
    """A value as people write it; a share, such as an accuracy, as a percentage."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(readable(item) for item in value) or "-"
    if isinstance(value, float):
        if key.endswith("accuracy"):
            return f"{value:.1%}"
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else printable(str(value))


def texts_from(
    texts: list[str] | None, file: Path | None, asked: str = "a text with [MASK], or an empty line to end"
) -> Iterator[str]:
    """Texts from arguments, a file, standard input, or one by one from a person. Blank lines are passed over."""
    if texts and file:
        raise UsageError("texts and --file are both given", "use one of them")
    if texts:
        yield from texts
    elif file is not None:
        yield from texts_in(file)
    elif sys.stdin.isatty():
        yield from asked_texts(asked)
    else:
        yield from piped_texts()


def texts_in(file: Path) -> list[str]:
    """The lines of a text file. Raises UsageError when it is missing, empty, or not UTF-8."""
    from glassformer.data.files import read_lines

    if not file.exists():
        raise UsageError(f"there is no file {printable(str(file))}")
    texts = list(without_blanks(read_lines(file), printable(str(file))))
    if not texts:
        raise UsageError(f"{printable(str(file))} is empty: it holds no text", "write one text in each line")
    return texts


def piped_texts() -> Iterator[str]:
    """The lines of standard input. Raises UsageError when there is none, or for what is not UTF-8."""
    empty = True
    for text in without_blanks(_decoded_lines(), "standard input"):
        empty = False
        yield text
    if empty:
        raise UsageError("there is no text on standard input", 'give one there, or behind the run: RUN "a text"')


def _decoded_lines() -> Iterator[str]:
    for number, line in enumerate(sys.stdin.buffer, 1):
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(
                f"standard input, line {number} is not UTF-8: byte 0x{line[error.start]:02X} at byte {error.start}",
                "send it as UTF-8, for example through iconv -f LATIN1 -t UTF-8",
            ) from None


def without_blanks(lines: Iterable[str], where: str) -> Iterator[str]:
    """The lines that hold a text. That there is a blank one before one of them is said once: answers and lines are then
    no longer counted alike."""
    blank, said = 0, False
    for number, line in enumerate(lines, 1):
        if not line.strip():
            blank = blank or number
            continue
        if blank and not said:
            print(f"note: line {blank} of {where} is blank; blank lines get no answer", file=sys.stderr)
            said = True
        yield line.strip()


def asked_texts(asked: str) -> Iterator[str]:
    """Ask until an empty line or the end of input."""
    print(asked, file=sys.stderr)
    sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  # refused later, with the place
    while True:
        try:
            text = input("> ").strip()
        except EOFError:
            print(file=sys.stderr)
            return
        if not text:
            return
        yield text


def head_choice(head: str) -> int | Literal["all", "mean"]:
    """--head as a number or a word. Raises UsageError for anything else."""
    if head == "all":
        return "all"
    if head == "mean":
        return "mean"
    if head.isdecimal():
        return int(head)
    raise UsageError(f"--head {head!r} is neither a number nor all nor mean")


def describe_type(name: str) -> str:
    """A type as it is written on the command line: `"pre" | "post"` as `pre | post`."""
    return re.sub(r"tuple\[(\w+), \.\.\.\]", r"list of \1", name.replace('"', "")).replace("None", "none")


def key_in_lines(key: str, value: Any, type: str, default: Any, meaning: str) -> str:
    """A key of a recipe: what it is set to, what it may be, what it means."""
    usual = "needed" if default == "(needed)" else f"default {as_written(default)}"
    return f"{key} = {printable(as_written(value))}    ({type}; {usual})\n    {printable(meaning)}"


def as_written(value: Any) -> str:
    """A value as a person writes it in a recipe."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return yaml.safe_dump(
            value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=math.inf
        ).strip()
    return str(value) if value != "" else '""'


def say_unknown(run: "Run", text: str) -> None:
    """On standard error, which words of a text the vocabulary lacks."""
    unknown = run.unknown_words(text)
    if unknown:
        print(f"not in the vocabulary, read as unknown: {printable(', '.join(unknown))}", file=sys.stderr)
