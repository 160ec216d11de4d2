"""`gf.views`: a function for each command, which gives a view; nothing else is offered."""

import importlib
import inspect
import json
import re
import rlcompleter
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import tiny_recipe
import typer.main
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from trained import TEXT, TREE, classifier_folder, generator_folder, run_folder

import glassformer as gf
from glassformer.ask.run import Run
from glassformer.cli import app
from glassformer.cli.look import command_of
from glassformer.errors import UsageError
from glassformer.look import views as all_views
from glassformer.look.pictures.page import View
from glassformer.look.views import NEEDED, OLD_NAMES, spec_of, view_names
from glassformer.plugins import plugin_names
from glassformer.views import view_function

OWN = """
from typing import Literal

import glassformer.launch  # nothing that the command line waits for: it reads VIEW alone
from glassformer.look.pictures.figures import new_figure
from glassformer.look.pictures.page import View
from glassformer.look.views import Argument, Option, ViewSpec

VIEW = ViewSpec(
    "The longest words.",
    (
        Argument("text", str, "a text"),
        Option("top", int, 5, "how many", least=1),
        Option("by", Literal["letters", "bytes"], "letters", "what is counted"),
    ),
)


def make(run, text, top=5, by="letters"):
    words = sorted(text.split(), key=len, reverse=True)[:top]
    return View("own", text, {}, {}, lambda: new_figure(1, 1), rows=[{"word": word} for word in words])
"""


class Unread(str):
    """A text that must not be looked at."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError("this text was read")


ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "look" / "README.md"
NOTEBOOK = ROOT / "notebooks" / "visualize_attention.ipynb"
DOCUMENTS = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.py")]
WHOLE = "Mars is called the red planet"
ASKED: dict[str, Callable[[Run, Path], View]] = {
    "ablate": lambda run, folder: gf.views.ablate(run, "positions", units=2),
    "confusion": lambda run, folder: gf.views.confusion(gf.load(classifier_folder()), "train"),
    "dependencies": lambda run, folder: gf.views.dependencies(run, folder / "tree.conllu", least=1),
    "film": lambda run, folder: gf.views.film(run),
    "generation": lambda run, folder: gf.views.generation(gf.load(generator_folder()), "Mars is", max_tokens=2),
    "heads": lambda run, folder: gf.views.heads(run, [WHOLE]),
    "attribution": lambda run, folder: gf.views.attribution(run, TEXT),
    "lens": lambda run, folder: gf.views.lens(run, TEXT),
    "mask": lambda run, folder: gf.views.mask(run, TEXT),
    "masks": lambda run, folder: gf.views.masks(run, [WHOLE, "Mars is red"]),
    "of_arrays": lambda run, folder: gf.views.of_arrays(run.attention(WHOLE).weights, run.attention(WHOLE).tokens),
    "positions": lambda run, folder: gf.views.positions(run),
    "pronoun": lambda run, folder: gf.views.pronoun(run, WHOLE, "red"),
    "schedule": lambda run, folder: gf.views.schedule(run),
    "shapes": lambda run, folder: gf.views.shapes(run, WHOLE),
    "steps": lambda run, folder: gf.views.steps(run, WHOLE),
    "torch": lambda run, folder: gf.views.torch(run, WHOLE),
    "word": lambda run, folder: gf.views.word(run, "red", WHOLE, "the red star"),
}


def commands_of_views() -> set[str]:
    look = typer.main.get_command(app).commands["look"]  # type: ignore[attr-defined]
    return {"ablate", *(name for name, command in look.commands.items() if not command.hidden)}


def documented() -> set[str]:
    """Every `views.NAME(` and, in the notebook's and the documents' words, every `gf.views.NAME`."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    files = [*DOCUMENTS, Path(inspect.getsourcefile(gf.views) or "")]
    texts = ["".join(cell["source"]) for cell in cells] + [file.read_text(encoding="utf-8") for file in files]
    return set(re.findall(r"\bviews\.([a-z_]+)", "\n".join(texts)))


@pytest.mark.parametrize("name", ASKED)
def test_every_view_is_a_function_that_gives_a_view(name: str, tmp_path: Path) -> None:
    (tmp_path / "tree.conllu").write_text(TREE, encoding="utf-8")
    view = ASKED[name](gf.load(run_folder()), tmp_path)
    assert isinstance(view, View)
    assert view.save(tmp_path / "view.json").stat().st_size > 100
    assert "<iframe" in view._repr_html_()


def test_every_command_has_a_function_of_its_name_and_every_function_is_asked_above() -> None:
    assert commands_of_views() == set(gf.views.__all__) - {"of_arrays"}
    assert set(ASKED) == set(gf.views.__all__), "say in ASKED how this test calls each view"


@pytest.mark.parametrize("name", view_names())
def test_what_a_view_says_that_it_takes_is_what_it_takes(name: str) -> None:
    """By name, in Python's and the command line's defaults, and in what is read without running its file."""
    module = importlib.import_module(f"glassformer.look.views.{name}")
    spec, parameters = spec_of(name), dict(inspect.signature(module.make).parameters)
    assert module.VIEW._replace(takes=()) == spec._replace(takes=()) and len(module.VIEW.takes) == len(spec.takes)
    parameters.pop("run")
    settings = [one for one in parameters.values() if one.kind is inspect.Parameter.VAR_KEYWORD]
    for taken in spec.takes:
        if taken.name not in parameters:
            assert settings, f"`make` does not take {taken.name}"
            continue
        default = parameters.pop(taken.name).default
        if taken.default is NEEDED:
            assert default is inspect.Parameter.empty
        elif taken.default is not None:
            assert default == taken.default - taken.from_one if taken.from_one else default == taken.default
    assert set(parameters) <= {one.name for one in settings}
    assert set(spec.live) <= {taken.name for taken in spec.takes}


def test_a_view_of_ones_own_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put beside the others it is in Python, with what it says refused before it is asked anything."""
    (tmp_path / "longest.py").write_text(OWN, encoding="utf-8")
    monkeypatch.setattr(all_views, "__path__", [*all_views.__path__, str(tmp_path)])
    assert "longest" in view_names() and "longest" in {*plugin_names("glassformer.look.views")}
    run = gf.load(run_folder())
    shown = view_function("longest")(run, "a planet of its own", top=2)
    assert shown.rows == [{"word": "planet"}, {"word": "its"}]
    with pytest.raises(UsageError, match="top=0 is too small"):
        view_function("longest")(run, Unread(), top=0)
    with pytest.raises(UsageError, match="there is no by 'size'"):
        view_function("longest")(run, Unread(), by="size")
    command = command_of("longest", spec_of("longest"))
    assert list(inspect.signature(command).parameters) == ["run", "text", "top", "by", "output", "as_json"]
    sys.modules.pop("glassformer.look.views.longest")


def test_what_a_model_has_not_is_refused_before_the_text_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    run = gf.load(run_folder())
    without = {"residual_stream": "it is a test"}
    monkeypatch.setattr(type(run.model), "why_not", lambda self, what: without.get(what))
    with pytest.raises(UsageError, match="shows no residual stream: it is a test"):
        gf.views.lens(run, Unread())


def test_the_page_of_views_lists_every_command() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in view_names():
        assert f"`{name}`" in page or f"`look {name}`" in page, f"say in docs/look/README.md what `look {name}` shows"


def test_what_the_documents_name_is_a_view() -> None:
    names = documented() - {"py"}
    assert {"attribution", "heads", "film", "dependencies", "mask", "of_arrays"} <= names
    assert names <= set(gf.views.__all__)


def test_only_views_are_offered() -> None:
    """By `dir`, by the interpreter's tab and by a star import."""
    assert dir(gf.views) == sorted(gf.views.__all__)
    offered = rlcompleter.Completer({"gf": gf}).attr_matches("gf.views.")
    plain = {name.removeprefix("gf.views.").rstrip("()") for name in offered if "._" not in name}
    assert plain == set(gf.views.__all__)
    assert all(callable(getattr(gf.views, name)) for name in plain)
    star: dict[str, Any] = {}
    exec("from glassformer.views import *", star)
    assert set(star) - {"__builtins__"} == set(gf.views.__all__)


def test_editors_know_what_each_takes_and_gives() -> None:
    for name in gf.views.__all__:
        view = getattr(gf.views, name)
        hints = get_type_hints(inspect.unwrap(view))
        assert set(hints) == {*inspect.signature(view).parameters, "return"}, name
        assert hints["return"] is View, name
        assert view.__doc__, name


def test_the_names_of_before_still_work() -> None:
    look = typer.main.get_command(app).commands["look"]  # type: ignore[attr-defined]
    for old, new in OLD_NAMES.items():
        assert getattr(gf.views, old) is getattr(gf.views, new)
        if not spec_of(new).on_top:
            assert look.commands[old].hidden and not look.commands[new].hidden
        assert old not in dir(gf.views)


def test_the_snippet_of_the_page_of_views_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    [snippet] = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (tmp_path / "treebank.conllu").write_text(f"{TREE}\n" * 20, encoding="utf-8")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mlm-demo").symlink_to(run_folder())
    monkeypatch.chdir(tmp_path)
    exec(snippet, {})
    assert {file.name for file in tmp_path.iterdir()} >= {
        "mask.html",
        "attribution.png",
        "film.html",
        "dependencies.csv",
    }


# ------------------------------------------------------------------------------------- what the pictures say


def is_bar(axes: Axes) -> bool:
    """A colour bar, and it says what its colours are."""
    return hasattr(axes, "_colorbar")


STANDING: dict[str, Callable[[Run, Path], View]] = {
    name: ASKED[name] for name in ("positions", "masks", "schedule", "dependencies", "ablate", "word", "generation")
}


@pytest.mark.parametrize("name", STANDING)
def test_every_axis_has_a_name_and_all_colours_a_bar_that_says_what_they_are(name: str, tmp_path: Path) -> None:
    (tmp_path / "tree.conllu").write_text(TREE, encoding="utf-8")
    figure = STANDING[name](gf.load(run_folder()), tmp_path).draw()
    words = {text.get_text() for text in figure.texts}
    bars = [axes for axes in figure.axes if is_bar(axes)]
    charts = [axes for axes in figure.axes if not is_bar(axes)]
    assert charts
    for axes in charts:
        named = "query (looks)" in words and "key (is looked at)" in words
        assert named or (axes.get_xlabel() and axes.get_ylabel()), axes.get_title()
    assert len(bars) in ([1] if name == "generation" else [sum(bool(axes.images) for axes in charts)])
    for bar in bars:
        assert bar.get_ylabel() or any(":" in label.get_text() for label in bar.get_yticklabels())


@pytest.mark.parametrize("positions", ["rotary", "alibi", "relative", "learned"])
def test_the_axes_of_every_kind_of_positions_have_names(positions: str, tmp_path: Path) -> None:
    short = {"steps": 1, "evaluate_every": 1, "checkpoint_every": 1}
    text = tiny_recipe.text_file(tmp_path)
    run = tiny_recipe.train(
        tiny_recipe.recipe(text, model={"positions": positions, "d_model": 24}, training=short), tmp_path / "run"
    )
    figure = gf.views.positions(run).draw()
    for axes in figure.axes:
        assert axes.get_ylabel() and (is_bar(axes) or axes.get_xlabel())
        assert not axes.images or any(is_bar(other) for other in figure.axes)


def test_nothing_that_is_written_on_a_standing_picture_is_cut_off(tmp_path: Path) -> None:
    (tmp_path / "tree.conllu").write_text(TREE, encoding="utf-8")
    for name, look in STANDING.items():
        figure = look(gf.load(run_folder()), tmp_path).draw()
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        for axes in figure.axes:
            for text in (axes.xaxis.label, axes.yaxis.label, *axes.texts):
                box = text.get_window_extent(canvas.get_renderer())
                inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height
                assert inside, (name, text.get_text())


def test_the_list_of_views_has_no_sentence_cut_short() -> None:
    """At 80 columns; longer sentences end in three dots there."""
    look = typer.main.get_command(app).commands["look"]  # type: ignore[attr-defined]
    room = 80 - 6 - max(map(len, look.commands))
    for name, command in look.commands.items():
        assert not command.get_short_help_str(room).endswith("..."), name
