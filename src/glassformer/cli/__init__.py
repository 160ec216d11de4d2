"""The command line: parses, calls, prints. torch and everything that needs it is imported inside the commands, so that
`--help` answers at once."""

import os
import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from glassformer import __version__
from glassformer.cli import ask, exchange, runs, train, vectors
from glassformer.cli.look import look
from glassformer.cli.terminal import App, complain
from glassformer.errors import GlassformerError, UsageError

app = App(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Train Transformers that you can see through.",
)


def say_version(wanted: bool) -> bool:
    """Print it where it is wanted, and end."""
    if wanted:
        print(f"glassformer {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="print the version", is_eager=True, callback=say_version)
    ] = False,
) -> None:
    """Train Transformers that you can see through."""


def main() -> None:
    """Run a command. A person's mistake is a line or two on standard error, exit code 2 (wrong use) or 1 (failed)."""
    code = run_command()
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has left, as `head` does; Python would flush once more and fail
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def run_command() -> int | str | None:
    """Run what the arguments ask for, and give back the exit code."""
    try:
        return app(prog_name="glassformer", standalone_mode=False) or 0
    except SystemExit as end:
        return end.code
    except typer.Abort:
        complain(GlassformerError("stopped"))
        return 1
    except TyperException as error:
        return misused(error)
    except GlassformerError as error:
        complain(error)
        return error.exit_code
    except OSError as error:  # what no part foresaw: a name that is too long, a folder that may not be read
        place = f"{error.filename}: " if error.filename else ""
        complain(GlassformerError(f"{place}{error.strerror or error}"))
        return 1


def misused(error: TyperException) -> int:
    """Say what is wrong with the words of a command, as all errors are said. Without any words it is the help."""
    what, context = error.format_message(), getattr(error, "ctx", None)
    if "\n" in what:
        print(what, file=sys.stderr)
    else:
        command = context.command_path if context is not None else "glassformer"
        mend = f"see {command} --help"
        if what.startswith("No such option"):
            mend += '; before a text that begins with "-" stands --, as in: fill RUN -- "- a [MASK]"'
        complain(UsageError(what.rstrip("."), mend))
    return error.exit_code


for room in (train.app, ask.app, vectors.app, runs.app, exchange.app):
    app.add_typer(room)
app.add_typer(look, name="look")
