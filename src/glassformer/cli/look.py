"""`glassformer look VIEW RUN ...`: each view as one page that opens anywhere, as a picture, or as numbers.

The commands are made of what the files in `glassformer.look.views` say of themselves.
"""

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glassformer.cli.terminal import App, AsJson, RunPath, patience, printable, say_unknown, show, table, texts_in
from glassformer.errors import UsageError
from glassformer.look.views import NEEDED, OLD_NAMES, Taken, ViewSpec, spec_of, view_names

if TYPE_CHECKING:
    from glassformer.look.pictures.page import View

look = App(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look inside a run: as a page, a picture or numbers.",
)

Output = Annotated[
    Path | None,
    typer.Option(help="FILE.html for a page that opens anywhere, .png, .svg, .pdf for a picture, .json, .npz, .csv"),
]


def give(view: "View", output: Path | None, as_json: bool) -> None:
    """A view as what was asked for: a file, JSON, or, where it can be one, a table."""
    from glassformer.look.pictures import page

    if output is not None:
        page.write(view, output)
    if as_json:
        show(page.plain(view.numbers))
    elif output is not None:
        print(printable(str(output)))
    elif view.table or view.rows:
        table(view.table or view.rows or [])
        for line in view.said:
            print(printable(line))
    else:
        raise UsageError("where should it go?", "name a file with --output page.html, or print the numbers with --json")
    if view.note:
        print(printable(view.note), file=sys.stderr)


def possible(output: Path | None) -> None:
    """Raises UsageError for a file that no view can be, before anything is computed."""
    from glassformer.look.pictures.page import check_output

    if output is not None:
        check_output(output)


def command_of(name: str, spec: ViewSpec) -> Callable[..., None]:
    """The function behind the command of a view, with the parameters that Typer reads."""

    def command(run: Path, output: Path | None, as_json: bool, **words: Any) -> None:
        from glassformer.ask.run import load
        from glassformer.views import view_function

        possible(output)
        given = dict(values_of(spec, words))
        trained = load(run)
        if spec.says_unknown:
            say_unknown(trained, words["text"])
        with patience():
            view = view_function(name)(trained, **given)
        give(view, output, as_json)

    parameters = [
        parameter("run", RunPath),
        *(one for taken in spec.takes if taken.placed for one in parameters_of(taken)),
        *(one for taken in spec.takes if not taken.placed for one in parameters_of(taken)),
        parameter("output", Output, None),
        parameter("as_json", AsJson, False),
    ]
    command.__name__, command.__doc__ = name, spec.help
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def parameter(name: str, kind: Any, default: Any = NEEDED) -> inspect.Parameter:
    """One parameter of a command."""
    default = inspect.Parameter.empty if default is NEEDED else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)


def parameters_of(taken: Taken) -> Iterator[inspect.Parameter]:
    """What the command line has for one thing that a view takes."""
    kind, default = taken.type, taken.default
    if kind == list[str] and default is None:
        kind = list[str] | None
    if taken.placed:
        how = typer.Argument(metavar=taken.metavar or taken.name.upper(), help=taken.help, show_default=False)
    else:
        names = [f"--{taken.called}"] if taken.called else []
        how = typer.Option(*names, min=taken.least, help=taken.help, show_default=default is not None)
    yield parameter(taken.name, Annotated[kind, how], default)
    if taken.or_file:
        yield parameter("file", Annotated[Path | None, typer.Option(help="a file with one text in each line")], None)
    if taken.and_more:
        more = typer.Argument(metavar=taken.and_more, help="more of them", show_default=False)
        yield parameter("more", Annotated[list[str] | None, more], None)


def values_of(spec: ViewSpec, words: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What the words of a command are in Python; what was left open stays so."""
    for taken in spec.takes:
        value = words[taken.name]
        if taken.and_more:
            value = [*(value or []), *(words["more"] or [])]
        if taken.or_file:
            value = [*(value or []), *([] if words["file"] is None else texts_in(words["file"]))]
        if value is not None and taken.read is not None:
            value = taken.read(value) if value else ()
        if taken.from_one:
            value -= 1
        if value is not None:
            yield taken.name, value


for each in view_names():
    if not spec_of(each).on_top:
        look.command(each)(command_of(each, spec_of(each)))
for old, now in OLD_NAMES.items():
    if not spec_of(now).on_top:
        look.command(old, hidden=True)(command_of(now, spec_of(now)))
