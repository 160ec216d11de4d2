"""The documents say what is so: their commands and snippets are run, what they name is there, what they show is small.

Trainings in a document are cut to a few steps here; everything else runs as it is written.
"""

import doctest
import importlib
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mechanism_contract
import nbformat
import numpy as np
import pytest
import typer.main
from nbclient import NotebookClient
from trained import TEXT, run_folder

import glassformer
from glassformer import launch, objectives
from glassformer import recipe as recipes
from glassformer.cli import app
from glassformer.look import views
from glassformer.look.views import ViewSpec
from glassformer.model import attention
from glassformer.plugins import plugin_names
from glassformer.views import view_function

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "notebooks" / "visualize_attention.ipynb"
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
OURS = [folder for folder in ROOT.iterdir() if folder.is_dir() and not folder.name.startswith((".", "runs", "build"))]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(file for folder in OURS for file in folder.rglob("*.md"))])
PICTURES = sorted(file for folder in OURS for suffix in ("png", "svg") for file in folder.rglob(f"*.{suffix}"))
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
STEPS = "training.steps=5"
ANIMALS = ("red fox", "blue bear", "green cat", "old owl")
THINGS = ("stone in the morning", "river in the forest", "apple in the garden", "boat in the harbour")
MY_TEXT = [f"the {who} {verb} the {what}" for who in ANIMALS for verb in ("sees", "finds", "likes") for what in THINGS]


def named(file: Path) -> str:
    return str(file.relative_to(ROOT))


def blocks(file: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", file.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def code_of(file: Path) -> list[str]:
    """Every line of every fenced block, and every inline code."""
    text = file.read_text(encoding="utf-8")
    fenced = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    return [*inline, *(line for block in fenced for line in block.splitlines())]


def shortened(command: str) -> str:
    """The same command with a training of a few steps (a resume: a few more)."""
    short = re.sub(r"training\.steps=\d+", STEPS, command)
    if "--resume" in short:
        return short.replace(STEPS, "training.steps=8")
    trains = short.startswith(("glassformer train", "glassformer doctor")) and STEPS not in short
    return f"{short.split('  #')[0].rstrip()} {STEPS}" if trains else short


def run(command: list[str], folder: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """A process in `folder` that finds our `glassformer` first; it must succeed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "GLASSFORMER_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    settings = {"cwd": folder, "env": environment, "input": stdin}
    done = subprocess.run(command, **settings, capture_output=True, text=True, check=False)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An otherwise empty folder with `my.txt` and hasty runs of the demo in `runs/mlm-demo` and `runs/pairs`."""
    folder = tmp_path_factory.mktemp("documents")
    (folder / "my.txt").write_text("\n".join(MY_TEXT) + "\n", encoding="utf-8")
    run(["glassformer", "train", "mlm-demo", STEPS, "--run", "runs/mlm-demo"], folder)
    run(["glassformer", "train", "seq2seq-demo", STEPS, "--run", "runs/pairs"], folder)
    return folder


# ------------------------------------------------------------------------------------- what is written, is run


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_commands_of_the_readme_run_in_order(folder: Path) -> None:
    """The first from the shell, as they are all meant; the others in forks of a process that has loaded PyTorch and
    nothing of ours."""
    commands = [line for block in blocks(ROOT / "README.md", "bash") for line in block.splitlines() if line]
    commands = [command for command in commands if not command.startswith("make")]
    assert len(commands) > 10
    run(["bash", "-c", shortened(commands[0])], folder)
    lines = "".join(f"{shortened(command)}\n" for command in commands[1:])
    run([sys.executable, str(Path(__file__).with_name("forked_commands.py"))], folder, stdin=lines)
    assert {file.name for file in folder.glob("*.*")} >= {"red-planet.png", "heads.png", "compare.png", "weights.npz"}


def test_the_python_of_the_readme_runs(folder: Path) -> None:
    [snippet] = blocks(ROOT / "README.md", "python")
    done = run([sys.executable, "-c", re.sub(r"training\.steps=\d+", STEPS, snippet)], folder)
    assert "(2, 4, 8, 8)" in done.stdout
    assert (folder / "layer-1.png").exists()


@pytest.mark.parametrize(("name", "least"), [("reading-guide.md", 40), ("quiz.md", 25)])
def test_what_documents_show_of_python_is_real(name: str, least: int) -> None:
    snippets = "\n".join(blocks(ROOT / "docs" / name, "python"))
    test = doctest.DocTestParser().get_doctest(snippets, {}, name, name, 0)
    complaints: list[str] = []
    result = doctest.DocTestRunner().run(test, out=complaints.append)
    assert result.attempted > least
    assert not result.failed, "".join(complaints)


@pytest.fixture
def plug_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The files that CONTRIBUTING.md writes out, put where it says."""
    definitions = tmp_path / "plug_ins" / "mechanisms"
    definitions.mkdir(parents=True)
    monkeypatch.setattr(mechanism_contract, "FOLDERS", [*mechanism_contract.FOLDERS, definitions])
    for package in (attention, objectives, views):
        aside = tmp_path / "plug_ins" / package.__name__.split(".")[-1]
        aside.mkdir(parents=True)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(aside)])
    before = set(sys.modules)
    for text in blocks(ROOT / "CONTRIBUTING.md", "python"):
        place = text.splitlines()[0].removeprefix("# ")
        if Path(place).parent.name in ("metrics", "definitions"):
            continue  # a metric of the page has a test of its own
        (tmp_path / "plug_ins" / Path(place).parent.name / Path(place).name).write_text(text, encoding="utf-8")
    yield
    for name in set(sys.modules) - before:
        if name.endswith((".uniform", ".last_word", ".evenness")):
            del sys.modules[name]


@pytest.mark.usefixtures("plug_ins")
def test_the_mechanism_of_contributing_keeps_the_contract() -> None:
    """Its file and the file of its test, in place: all that it says it can is asked, all that it cannot is refused."""
    asked = mechanism_contract.asked_of("uniform")
    assert len(asked) > 10
    for check in asked:
        check("uniform")


@pytest.mark.usefixtures("plug_ins")
def test_the_view_of_contributing_shows_what_it_says(tmp_path: Path) -> None:
    """Where each of T tokens looks at all alike it is ln T, and at most that anywhere."""
    run = glassformer.load(run_folder())
    view = view_function("evenness")(run, TEXT)
    tokens = len(run.attention(TEXT).tokens)
    layers, heads = run.recipe.model.n_layers, run.recipe.model.n_heads
    assert len(view.rows) == layers * heads and np.shape(view.found["entropy"]) == (layers, heads)
    assert all(0 < row["entropy"] < np.log(tokens) for row in view.rows)
    assert view.save(tmp_path / "view.png").stat().st_size > 1000


@pytest.mark.usefixtures("plug_ins")
def test_the_plug_ins_of_contributing_train_and_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "draw_report", lambda run: None)
    changes = ["model.attention=uniform", "objective={name: last_word}", "training.steps=20", "training.threads=1"]
    trained = launch.train("mlm-demo", changes, run=tmp_path / "run")
    losses = [record["loss"] for record in trained.metrics() if record["event"] == "evaluation"]
    assert losses[-1] < losses[0]
    assert trained.fill("Mars is called the red").blanks[0].position == 6
    assert trained.attention("Mars is called the red").weights[0, 0, 3].tolist() == pytest.approx([1 / 8] * 8)


@pytest.mark.parametrize("example", EXAMPLES, ids=named)
def test_the_examples_are_short_and_run(example: Path, folder: Path) -> None:
    assert len(example.read_text(encoding="utf-8").splitlines()) < 60
    arguments = {
        "train_mlm.py": ["--change", STEPS, "--run", "runs/example"],
        "visualize_attention.py": ["--run", "runs/mlm-demo", "--output", "pictures"],
        "train_seq2seq.py": ["--change", STEPS, "--run", "runs/example-pairs"],
        "inference.py": ["--run", "runs/pairs"],
        "visualize_decoder_attention.py": ["--run", "runs/pairs", "--output", "pictures"],
    }
    done = run([sys.executable, str(example), *arguments[example.name]], folder)
    assert done.stdout


def test_the_notebook_runs(folder: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, 4)
    place = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=place).execute()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert "equals the model's output: True" in printed
    assert "False" not in printed


def test_the_results_page_says_what_was_measured() -> None:
    """It is what `benchmarks/report.py` makes of the stored numbers."""
    report = runpy.run_path(str(ROOT / "benchmarks" / "report.py"))
    assert (ROOT / "docs" / "results" / "README.md").read_text(encoding="utf-8") == report["page"]()


def test_the_notebook_is_stored_with_its_outputs() -> None:
    cells = [cell for cell in nbformat.read(NOTEBOOK, 4).cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert all(cell.execution_count for cell in cells)
    assert not [output for output in outputs if output.output_type == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4
    assert sum("text/html" in output.get("data", {}) for output in outputs) == 1
    printed = "".join(output.get("text", "") for output in outputs)
    assert "equals the model's output: True" in printed
    assert "False" not in printed


# ----------------------------------------------------------------------------------- what is named, is there


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_links_and_pictures_exist(document: Path) -> None:
    targets = re.findall(r"!?\[[^\]]*(?:\[[^\]]*\][^\]]*)*\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
    here = [target.split("#")[0] for target in targets if not target.startswith(("http://", "https://", "mailto:"))]
    assert not [target for target in here if target and not (document.parent / target).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_recipes_commands_and_options_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert set(re.findall(r"\bmlm-[a-z0-9-]+[a-z0-9]", text)) <= set(recipes.shipped())
    for code in code_of(document):
        if found := re.match(r"(?:\S*[/\\])?glassformer ([a-z]+)(?: ([a-z]+))?", code):
            assert found[1] in COMMANDS, code
            command = COMMANDS[found[1]]
            command = getattr(command, "commands", {}).get(found[2], command)
            known = {option for parameter in command.params for option in parameter.opts}
            assert set(re.findall(r"(?<= )--[a-z-]+", code)) <= known | {"--help"}, code


# The dotted names of json.md are paths into answers, which test_cli.py checks.
@pytest.mark.parametrize("document", [d for d in DOCUMENTS if d.name != "json.md"], ids=named)
def test_keys_exist(document: Path) -> None:
    trees = ({"objective": {"name": name}} for name in plugin_names(objectives.__name__))
    known = {key.name for tree in trees for key in recipes.keys(tree)}
    sections = "|".join(sorted({name.split(".")[0] for name in known if "." in name}))
    for code in code_of(document):
        assigned = re.findall(rf"(?<![\w./])((?:{sections})\.\w+)=", code)
        alone = re.findall(rf"^((?:{sections})\.\w+)$", code)
        keys = {key for key in (*assigned, *alone) if not key.endswith((".json", ".py", ".yaml"))}
        assert keys <= known, code


def additions() -> list[list[str]]:
    """The rows of the table of CONTRIBUTING.md that says where something new goes, cell by cell."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    lines = text.split("## I want to add a ...")[1].split("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return rows[2:]


@pytest.mark.parametrize("row", additions(), ids=lambda row: row[0])
def test_what_can_be_added_goes_where_the_table_says(row: list[str]) -> None:
    """The file or folder is there, the class or function too; of plug-ins each that is there has its class and test."""
    _, where, what, tested, _ = row
    room, _, name = re.findall("`([^`]+)`", what)[0].rpartition(".")
    contract = getattr(importlib.import_module(f"glassformer.{room}"), name)
    [test] = re.findall("`([^`]+)`", tested)
    if "NAME" not in where:
        file = re.findall("`([^`]+)`", where)
        assert all((ROOT / "src" / "glassformer" / one).is_file() for one in file)
        assert (ROOT / "tests" / test).is_file()
        return
    folder = ROOT / "src" / "glassformer" / re.findall("`([^`]+)/NAME.py`", where)[0]
    package = ".".join(folder.relative_to(ROOT / "src").parts)
    there = plugin_names(package)
    assert there
    for plug_in in there:
        assert (ROOT / "tests" / test.replace("NAME", plug_in)).is_file(), f"{plug_in} has no test {test}"
        if isinstance(contract, type) and contract is not ViewSpec:
            module = importlib.import_module(f"{package}.{plug_in}")
            own = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__]
            assert any(issubclass(one, contract) for one in own), f"{plug_in} has no {name}"


def test_files_that_the_reading_guide_names_exist() -> None:
    package = Path(glassformer.__file__).parent
    names = re.findall(r"`([\w/]+(?:\.py|/))`", (ROOT / "docs" / "reading-guide.md").read_text(encoding="utf-8"))
    own = [name for name in names if not name.startswith("src/")]
    assert len(own) > 20
    assert not [name for name in own if not (package / name).exists()]


# ------------------------------------------------------------------------------- what may not be in a document


@pytest.mark.parametrize("file", [*DOCUMENTS, *EXAMPLES, NOTEBOOK], ids=named)
def test_no_path_of_a_particular_machine(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert not re.findall(r"(?<![\w.])/(?:work|root|tmp)/|/home/\w|/Users/\w|[A-Z]:\\\\?Users", text)


@pytest.mark.parametrize("file", [*PICTURES, NOTEBOOK], ids=named)
def test_stored_files_are_small(file: Path) -> None:
    assert file.stat().st_size <= 500_000
