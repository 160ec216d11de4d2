"""The command line answers what needs no model without loading torch, Matplotlib or anything else that takes seconds;
and a shell is told what there is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_recipe
from trained import command, copy_of_run, refused, run_folder

from glassformer.cli import completion
from glassformer.objective_configs import SHIPPED, needs_of
from glassformer.objectives import find_objective
from glassformer.plugins import plugin_names
from glassformer.recipe import shipped

HEAVY = ("torch", "matplotlib", "lightning_fabric", "transformers", "datasets", "pyarrow")
PROGRAM = f"""
import sys
from glassformer.cli import run_command
for line in sys.stdin.read().splitlines():
    sys.argv = ["glassformer", *line.split("|")]
    code = run_command()
    print("CODE", code, [name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def said_of(*lines: str) -> list[str]:
    """What comes on standard error of commands that one new process runs one after another."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input="\n".join(lines), capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()


def test_answers_that_need_no_model_load_none(tmp_path: Path) -> None:
    """Lists, help, and everything that is wrong in the words of a command; what would train does load torch."""
    copy_of_run(tmp_path / "runs", "mine")
    tiny_recipe.text_file(tmp_path, name="my.txt")
    good = ["--help", "--version", "recipes", "recipes|mlm-demo", "recipes|mlm-demo|--json", "runs", "runs|--json"]
    wrong = [
        "nothing",
        "train|mlm-demo|training.stps=3",
        "train|mlm-demo|model.norm=foo",
        "train|mlm-demo|model.attention=ful",
        "train|mlm-dmeo",
        "train|my.txt|training.stps=3",
        "train|my.txt|model.preset=brt",
        "train|--resume|--run|runs/mine|training.steps=many",
        "train",
        "doctor|mlm-demo|objective.mask_rat=1",
        "preview|my.txt|data.document=page",
        "fill|mine|a [MASK]",
        "compare|runs/mine|runs/mnie",
        "look|mask|nowhere|a [MASK]",
        "fill|runs/mine|--my text",
        "export|runs/mine|x.onnx",
    ]
    codes = [line for line in said_of(*good, *wrong) if line.startswith("CODE")]
    assert codes == ["CODE 0 []"] * len(good) + ["CODE 2 []"] * len(wrong)
    assert any("'torch'" in line for line in said_of("info|runs/mine")), "the other side: here it is needed"


@pytest.mark.parametrize("name", plugin_names("glassformer.objectives"))
def test_what_is_known_of_an_objective_without_its_code_is_true(name: str) -> None:
    """Its configuration, family, segments and columns are those of the class."""
    kind = find_objective(name)
    assert needs_of(name) == (kind.Config, kind.family, kind.segments, kind.columns)
    assert name in SHIPPED


def test_names_that_there_are_are_listed() -> None:
    """Where a key names a file or a preset, `recipes` says which there are."""
    rows = {row["key"]: row["type"] for row in command("recipes", "mlm-demo", "--json").json}
    assert all(name in rows["objective.name"] for name in plugin_names("glassformer.objectives"))
    assert rows["model.attention"] == "full"
    assert "bert" in rows["model.preset"] and "t5" in rows["model.preset"] and rows["model.preset"].endswith("none")
    assert "unigram" in rows["tokenizer.kind"] and "cosine" in rows["schedule.name"]


def test_a_name_without_its_folder_leads_to_the_run(tmp_path: Path) -> None:
    """`fill mine` where there is runs/mine."""
    copy_of_run(tmp_path / "runs", "mine")
    assert f"did you mean {Path('runs/mine')}?" in refused("fill", "mine", "a [MASK]")
    assert "runs found: runs/mine" in refused("fill", "mnie", "a [MASK]")
    assert "make one first" not in refused("fill", "runs/mnie", "a [MASK]")


@pytest.mark.parametrize("name", ["x.onnx", "x.ONNX", "model.safetensors", "deep/x.gguf"])
def test_no_folder_is_made_under_the_name_of_a_file(name: str) -> None:
    said = refused("export", run_folder(), name)
    assert f"{name} is the name of a file" in said and "gpt2, bart" in said
    assert not Path(name).exists()


def test_an_unknown_type_of_folder_is_told_which_there_are() -> None:
    """And not which is spelt most alike: electra is no misspelt anything."""
    Path("theirs").mkdir()
    Path("theirs/config.json").write_text(json.dumps({"model_type": "electra"}))
    said = refused("import", "theirs", "runs/new")
    assert "there is no format 'electra'" in said and "bart, bert, gpt2" in said and "did you mean" not in said


def test_a_text_that_looks_like_an_option() -> None:
    """The error says that -- goes before it, and with it the text is read."""
    said = refused("fill", run_folder(), "-- my [MASK]")
    assert "fill RUN -- " in said
    assert command("fill", run_folder(), "--", "-- sun [MASK]").code == 0


# --------------------------------------------------------------------------------------------------- completion


def test_recipes_and_files_are_offered() -> None:
    for name in ("my.txt", "mine.yaml", "picture.png", ".hidden.txt"):
        Path(name).write_text("")
    Path("myths").mkdir()
    assert completion.recipes("mlm-d") == ["mlm-demo"]
    assert completion.recipes("m")[-3:] == ["mine.yaml", "my.txt", "myths/"]
    assert [name for name in completion.recipes("") if name in shipped()] == shipped()
    (Path("myths") / "a.txt").write_text("")
    assert completion.recipes("myths/") == [str(Path("myths/a.txt"))]
    assert completion.recipes("nowhere/") == []


def test_runs_are_offered_by_path_and_by_name(tmp_path: Path) -> None:
    for name in ("mine", "other"):
        copy_of_run(tmp_path / "runs", name)
    Path("elsewhere").mkdir()
    assert completion.runs("runs/m") == ["runs/mine"]
    assert completion.runs("mi") == ["runs/mine"]
    assert completion.runs("") == ["runs/mine", "runs/other", "elsewhere/", "runs/"]
    assert completion.runs("e") == ["elsewhere/"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_is_told_without_torch(shell: str) -> None:
    """What a shell asks when a person presses the key: the names come, and torch is not loaded for them."""
    words = {
        "COMP_WORDS": "glassformer train mlm-d",
        "COMP_CWORD": "2",
        "_TYPER_COMPLETE_ARGS": "glassformer train mlm-d",
    }
    asked = (
        os.environ | words | {"_GLASSFORMER_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    )
    program = "import atexit, sys; from glassformer.cli import main\n"
    program += "atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr)); main()"
    done = subprocess.run([sys.executable, "-c", program], env=asked, capture_output=True, text=True, check=False)
    assert "mlm-demo" in done.stdout and "clm-shakespeare" not in done.stdout, done.stderr
    assert done.stderr.strip() == "False"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_each_shell(shell: str) -> None:
    """Shown by the command itself."""
    asked = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    program = "from glassformer.cli import main; main()"
    words = [sys.executable, "-c", program, "--show-completion", shell]
    done = subprocess.run(words, env=asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "_GLASSFORMER_COMPLETE" in done.stdout, done.stderr


def test_the_package_is_a_command_too() -> None:
    done = subprocess.run([sys.executable, "-m", "glassformer", "recipes"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "mlm-demo" in done.stdout
