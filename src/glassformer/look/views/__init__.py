"""Views: each file of this folder is one, found by its name. It defines two things:

    VIEW = ViewSpec("What it shows.", (Argument("text", str, "a text"), Option("top", int, 5, "candidates")))

    def make(run: Run, text: str, top: int = 5) -> View: ...

The command `glassformer look NAME`, the function `gf.views.NAME` and the studio's list come from them. The command line
reads VIEW alone from the file, without running the rest of it: help and refusals need not wait for torch.
"""

import ast
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, get_origin

from glassformer.errors import GlassformerError, UsageError
from glassformer.plugins import check_plugin, plugin_names

if TYPE_CHECKING:
    from glassformer.ask.run import Run

OLD_NAMES = {
    "ablation": "ablate",
    "heads_of": "heads",
    "honest": "attribution",
    "layers": "lens",
    "learning": "film",
    "mattered": "attribution",
    "syntax": "dependencies",
}
"""What views were called before: the old names are still understood."""
NEEDED = ...
"""Stands for the default of what must be given."""


class Taken(NamedTuple):
    """One thing that a view takes beside the run. `Argument` and `Option` make it."""

    name: str
    """That of the parameter of `make`."""
    type: Any
    help: str
    default: Any
    """That of the command line; where it is None, `make` decides."""
    placed: bool
    """Whether the command line takes it by its place and not by a name."""
    least: int | None = None
    """Smaller numbers are refused."""
    from_one: bool = False
    """Whether the command line counts it from 1; Python counts from 0."""
    called: str = ""
    """Its name on the command line, where that is another."""
    read: Callable[[str], Any] | None = None
    """How the command line's words become the value."""
    or_file: bool = False
    """Whether the command line may add the lines of a --file."""
    metavar: str = ""
    """What stands for it in the help, where that is not its name."""
    and_more: str = ""
    """Of a list that is an option: how more of it, at the end of the line, are called in the help."""

    def check(self, value: Any) -> None:
        """Raises UsageError for a value that it cannot be."""
        if get_origin(self.type) is Literal and value not in get_args(self.type):
            allowed = ", ".join(get_args(self.type))
            raise UsageError(f"there is no {self.name} {value!r}", f"it is one of: {allowed}")
        least = None if self.least is None else self.least - self.from_one
        if least is not None and isinstance(value, int) and value < least:
            raise UsageError(f"{self.name}={value} is too small", f"give {least} or more")


def Argument(name: str, type: Any, help: str, default: Any = NEEDED, **more: Any) -> Taken:  # noqa: N802
    """What the command line takes by its place."""
    return Taken(name, type, help, default, True, **more)


def Option(name: str, type: Any, default: Any, help: str, **more: Any) -> Taken:  # noqa: N802
    """What the command line takes by its name."""
    return Taken(name, type, help, default, False, **more)


class ViewSpec(NamedTuple):
    """What a view takes, needs and makes; `make` makes it."""

    help: str
    """A line, and behind an empty one what else there is to say, with an example."""
    takes: tuple[Taken, ...] = ()
    needs: tuple[str, ...] = ()
    """Capabilities that a model must have (`glassformer.model.kinds.Capability`)."""
    live: tuple[str, ...] = ()
    """Which of what it takes the studio's page sets."""
    as_it_is: bool = False
    """Whether it shows the model's own modules, and not those of an equal model that can be recorded."""
    says_unknown: bool = False
    """Whether the command line says which words of the text the vocabulary lacks."""
    on_top: bool = False
    """Whether its command is `glassformer NAME`, without `look`."""

    def check(self, run: "Run", given: Mapping[str, Any]) -> None:
        """Raises UsageError, before any work, for a value that cannot be and for what the model has not."""
        for taken in self.takes:
            if taken.name in given:
                taken.check(given[taken.name])
        for what in self.needs:
            run.model.need(what)  # type: ignore[arg-type]


def view_names() -> list[str]:
    """The views that there are. None of them is loaded."""
    return plugin_names(__name__)


@cache
def spec_of(name: str) -> ViewSpec:
    """What the file of a view says of it; the file is read, and only the expression behind `VIEW =` is evaluated.

    Raises UsageError naming the nearest view when there is none, GlassformerError when the file has no VIEW.
    """
    check_plugin(__name__, name, "view")
    found = importlib.util.find_spec(f"{__name__}.{name}")
    file = Path(str(found.origin if found is not None else name))
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "VIEW":
            names = {"Literal": Literal, "Path": Path, "numbers_in": numbers_in}
            names |= {"ViewSpec": ViewSpec, "Argument": Argument, "Option": Option}
            spec: ViewSpec = eval(compile(ast.Expression(node.value), str(file), "eval"), names)
            return spec
    raise GlassformerError(f"{file} defines no VIEW")


def numbers_in(rows: str) -> Sequence[int]:
    """`5,100-120` as numbers. Raises UsageError for anything else."""
    found: list[int] = []
    for part in rows.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()):
            raise UsageError(f"--rows {rows!r} are no numbers", "write them as 5,100-120")
        found += range(int(first), int(last or first) + 1)
    return found
