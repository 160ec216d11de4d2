"""Bad input at the command line: a line or two that name the case and the mend, no traceback, the right exit code."""

import os
import shutil
import sys
from pathlib import Path

import pytest
import tiny_recipe
from trained import TEXT, command, copy_of_run, process, refused, run_folder

from glassformer import launch
from glassformer.recipe import to_yaml


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch, "draw_report", lambda run: None)


def written(name: str, content: bytes) -> str:
    Path(name).write_bytes(content)
    return name


# -------------------------------------------------------------------------------------------------- texts

TEXTS = [
    ("gone.txt", None, "there is no file gone.txt"),
    ("empty.txt", b"", "empty.txt is empty"),
    ("blank.txt", b"\n \n\t\n", "blank.txt is empty"),
    ("binary.txt", b"some text\n\x00\x01\x02", "binary.txt is binary: a NUL byte at byte 10"),
    ("latin.txt", b"a caf\xe9", "latin.txt is not UTF-8: byte 0xE9 at byte 5"),
    ("cut.txt", "sun moon\nnaïve€".encode()[:-1], "cut.txt is not UTF-8: byte 0xE2 at byte 15"),
    ("utf16.txt", "sun moon".encode("utf-16"), "utf16.txt is not UTF-8"),
    ("short.txt", b"sun moon star\n", "short.txt is too short to learn from: 3 words"),
]


@pytest.mark.parametrize("what", ["train", "doctor"])
@pytest.mark.parametrize(("name", "content", "error"), TEXTS)
def test_texts(what: str, name: str, content: bytes | None, error: str) -> None:
    if content is not None:
        written(name, content)
    assert error in refused(what, name)
    assert not Path("runs").exists(), "nothing is left behind"


@pytest.mark.parametrize(("name", "content", "error"), TEXTS[:6])
def test_a_recipe_whose_text_is_wrong(name: str, content: bytes | None, error: str, tmp_path: Path) -> None:
    good = tiny_recipe.text_file(tmp_path)
    Path("r.yaml").write_text(to_yaml(tiny_recipe.recipe(good, data={"validation": name})))
    if content is not None:
        written(name, content)
    assert error in refused("train", "r.yaml")


def test_a_text_too_short_for_one_batch(tmp_path: Path) -> None:
    text = tiny_recipe.text_file(tmp_path)
    Path("r.yaml").write_text(to_yaml(tiny_recipe.recipe(text, batch={"size": 400})))
    said = refused("train", "r.yaml")
    assert "too short for one batch" in said
    assert "batch.size=80 or less" in said


# ------------------------------------------------------------------------------------------------ recipes


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("model.n_head=4", "there is no key 'model.n_head'; did you mean 'model.n_heads'?"),
        ("modle.n_heads=4", "did you mean 'model"),
        ("dropout=0.1", "did you mean 'model.dropout'?"),
        ("model.n_heads=four", "model.n_heads='four'"),
        ("model.n_heads=5", "model.n_heads=5 does not divide model.d_model=128"),
        ("model.dropout=2", "model.dropout=2"),
        ("model=5", "model=5"),
        ("seed=-1", "seed=-1"),
        ("training.steps", "'training.steps' is not key=value"),
        ("=5", "'=5' is not key=value"),
        ("training.steps=[1", "training.steps='[1': input should be a valid integer"),
        ("data.train=[a, {]", "data.train=[a, {] cannot be read"),
        ("objective.name=masked", "there is no objective 'masked'; did you mean 'masked_lm'?"),
        ("model.norm=middle", "model.norm='middle'"),
    ],
)
@pytest.mark.parametrize("what", ["train", "doctor"])
def test_changes(what: str, change: str, error: str) -> None:
    assert error in refused(what, "mlm-demo", change).replace("\n  ", "; ")
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"seed: 1\nmodel: {d_model: [\n", "r.yaml is not YAML, line 3"),
        (b"seed: 1\n  model: 5\n", "r.yaml is not YAML, line 2"),
        (b"just words", "r.yaml is not a recipe"),
        (b"", "r.yaml is not a recipe"),
        (b"seed: 1\n", "data is missing"),
        (b"seed: 1\n# caf\xe9\n", "UTF-8"),
        (b"data: {train: a.txt}\nmodell: {}\n", "modell"),
        (b"data: {train: !!python/object:os.system a}\n", "r.yaml is not YAML, line 1"),
    ],
)
@pytest.mark.parametrize("what", ["train", "doctor", "recipes"])
def test_yaml_files(what: str, content: bytes, error: str) -> None:
    written("r.yaml", content)
    assert error in refused(what, "r.yaml")


@pytest.mark.parametrize("what", ["train", "doctor", "recipes"])
def test_a_recipe_that_is_not_there(what: str) -> None:
    assert "did you mean 'mlm-demo'?" in refused(what, "mlm-dmeo")
    assert "there is no file r.yaml" in refused(what, "r.yaml")


def test_train_without_anything() -> None:
    assert "which recipe?" in refused("train")
    assert "`glassformer recipes` lists them" in refused("train")


# ------------------------------------------------------------------------------------------------ the run


def test_a_folder_that_is_taken(tmp_path: Path) -> None:
    text = tiny_recipe.text_file(tmp_path)
    Path("r.yaml").write_text(to_yaml(tiny_recipe.recipe(text)))
    copy_of_run(tmp_path, "taken")
    said = refused("train", "r.yaml", "--run", "taken")
    assert "taken holds a run already" in said
    assert "--resume" in said
    Path("thesis").mkdir()
    (Path("thesis") / "thesis.tex").write_text("years of work")
    assert "thesis is not empty" in refused("train", "r.yaml", "--run", "thesis")
    written("file", b"")
    assert "file is a file" in refused("train", "r.yaml", "--run", "file")


def test_resume_without_a_run(tmp_path: Path) -> None:
    assert "name it: glassformer train --resume --run runs/NAME" in refused("train", "--resume")
    assert "name it:" in refused("train", "training.steps=5", "--resume")
    assert "is no run: there is no such folder" in refused("train", "--resume", "--run", "runs/mlm-demo")
    assert "is no run: it has no recipe.yaml" in refused("train", "--resume", "--run", tmp_path)


def test_resume_with_another_recipe(tmp_path: Path) -> None:
    folder = copy_of_run(tmp_path)
    said = refused("train", "model.d_model=24", "--resume", "--run", folder)
    assert "model.d_model was 12 when the run was begun, and 24 is asked now" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ("fill", "RUN", TEXT),
        ("evaluate", "RUN"),
        ("attention", "RUN", TEXT, "--output", "a.png"),
        ("compare", "RUN", "--output", "a.png"),
        ("info", "RUN"),
    ],
)
def test_a_folder_that_is_no_run(arguments: tuple[str, ...], tmp_path: Path) -> None:
    copy_of_run(tmp_path, "mine")
    said = refused(*(a.replace("RUN", "mnie") for a in arguments))
    assert "mnie is no run: there is no such folder" in said
    assert "runs found: mine" in said
    Path("empty").mkdir()
    assert "empty is no run: it has no recipe.yaml" in refused(*(a.replace("RUN", "empty") for a in arguments))
    assert not Path("a.png").exists()


def flip_last_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def test_damaged_weights_fall_back_and_say_so(tmp_path: Path) -> None:
    folder = copy_of_run(tmp_path)
    flip_last_byte(folder / "best" / "model.safetensors")
    said = command("fill", folder, TEXT, "--json")
    assert said.code == 0
    assert said.err.startswith("best is damaged (model.safetensors was changed after it was written): falling back")
    (folder / "checkpoints" / "step-24" / "manifest.json").write_text("{")
    said = command("fill", folder, TEXT, "--json")
    assert said.code == 0
    assert "step-24 is damaged (manifest.json cannot be read): falling back to step-12" in said.err


def test_nothing_whole_left_fails_clearly(tmp_path: Path) -> None:
    folder = copy_of_run(tmp_path)
    for file in folder.rglob("model.safetensors"):
        file.write_bytes(file.read_bytes()[:100])
    said = refused("fill", folder, TEXT, code=1)
    assert "has no whole checkpoint" in said
    assert "put the files back from a copy, or train again" in said


def test_no_weights_yet(tmp_path: Path) -> None:
    folder = copy_of_run(tmp_path)
    for part in ("best", "last", "checkpoints"):
        shutil.rmtree(folder / part)
    assert "has no weights yet" in refused("fill", folder, TEXT)


@pytest.mark.parametrize(
    ("name", "content"),
    [("recipe.yaml", b"model: ["), ("tokenizer.json", b"{"), ("metrics.jsonl", b"{}\nno\n{}\n")],
)
def test_other_damaged_files_of_a_run(tmp_path: Path, name: str, content: bytes) -> None:
    folder = copy_of_run(tmp_path)
    (folder / name).write_bytes(content)
    what = ("compare", folder, "--output", "a.png") if name == "metrics.jsonl" else ("fill", folder, TEXT)
    assert name in refused(*what, code=1)


# ------------------------------------------------------------------------------------- fill and attention


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("Mars is red", "no blank in 'Mars is red'"),
        ("Mars is [mask]", "no blank"),
        ("a " * 20 + "[MASK]", "the text has 21 tokens, the model reads at most 14"),
        ("a \udcff [MASK]", "lone surrogate, U+DCFF, at character 2"),
        ("a \ud800 [MASK]", "lone surrogate, U+D800, at character 2"),
    ],
)
def test_texts_that_cannot_be_filled(text: str, error: str) -> None:
    assert error in refused("fill", run_folder(), text)


@pytest.mark.skipif(sys.platform == "win32", reason="arguments are not bytes there")
def test_an_argument_that_is_not_utf_8_in_a_real_process() -> None:
    """Python hands invalid bytes over as surrogates; neither the answer nor the complaint may choke on them."""
    done = process("fill", run_folder(), os.fsdecode(b"caf\xe9 [MASK]"))
    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr.startswith(b"error: a text with a lone surrogate, U+DCE9, at character 3")
    assert len(done.stderr.splitlines()) == 2


def test_standard_input_that_is_not_utf_8() -> None:
    said = command("fill", run_folder(), "--json", stdin=TEXT.encode() + b"\ncaf\xe9 [MASK]\n")
    assert said.code == 2
    assert said.json["text"] == TEXT, "what came before is answered"
    assert "standard input, line 2 is not UTF-8: byte 0xE9 at byte 3" in said.err
    assert len(said.err.splitlines()) == 2


@pytest.mark.parametrize("stdin", [b"", b"\n  \n"])
def test_nothing_on_standard_input(stdin: bytes) -> None:
    assert "there is no text on standard input" in refused("fill", run_folder(), stdin=stdin)


@pytest.mark.parametrize(("name", "content", "error"), [case for case in TEXTS if case[0] != "short.txt"])
def test_files_to_fill(name: str, content: bytes | None, error: str) -> None:
    """The lines before the wrong byte are answered, if they can be."""
    if content is not None:
        first_line = {b"some text\n": b"is [MASK]\n", b"sun moon\n": b"a [MASK]\n"}
        for line, as_long in first_line.items():
            content = content.replace(line, as_long)
        written(name, content)
    said = command("fill", run_folder(), "--file", name)
    assert said.code == 2
    assert error in said.err


def test_texts_twice() -> None:
    assert "texts and --file are both given" in refused("fill", run_folder(), TEXT, "--file", "a.txt")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--layer", "7"), "there is no layer 7\n  this model has layers 0 to 1"),
        (("--head", "3"), "there is no head 3\n  this model has heads 0 to 2"),
        (("--head", "first"), "--head 'first' is neither a number nor all nor mean"),
        (("--head", "-1"), "--head '-1' is neither"),
        (("--view", "overlay", "--blank", "2"), "there is no blank 2"),
    ],
)
def test_attention_of_what_is_not_there(options: tuple[str, ...], error: str) -> None:
    assert error in refused("attention", run_folder(), TEXT, "--output", "a.png", *options)
    assert not Path("a.png").exists()


@pytest.mark.parametrize("name", ["a.gif", "a", "a.txt"])
def test_an_unknown_suffix(name: str) -> None:
    assert ".npz" in refused("attention", run_folder(), TEXT, "--output", name)
    assert ".svg" in refused("compare", run_folder(), "--output", name)


@pytest.mark.parametrize("name", ["a.png", "a.json", "a.npz"])
def test_an_output_that_cannot_be_written(name: str) -> None:
    written("file", b"")
    assert "cannot write" in refused("attention", run_folder(), TEXT, "--output", Path("file") / name, code=1)


def test_compare_cannot_write(tmp_path: Path) -> None:
    written("file", b"")
    assert "cannot write" in refused("compare", run_folder(), "--output", Path("file") / "a.png", code=1)
    assert "a run is given twice" in refused("compare", run_folder(), run_folder(), "--output", "a.png")


def test_attention_of_a_text_that_is_too_long() -> None:
    assert "reads at most 14" in refused("attention", run_folder(), "a " * 20, "--output", "a.png")


# ----------------------------------------------------------------------------------------------- evaluate


def test_evaluate_without_test_data(tmp_path: Path) -> None:
    text = tiny_recipe.text_file(tmp_path)
    tiny_recipe.train(tiny_recipe.recipe(text, training={"steps": 1, "evaluate_every": 1}), tmp_path / "r")
    said = refused("evaluate", "r", "--split", "test")
    assert "names no test data" in said
    assert "data.test=FILE" in said
    assert command("evaluate", "r", f"data.test={text}", "--split", "test").code == 0, "the mend works as it is said"


def test_data_that_have_moved_away(tmp_path: Path) -> None:
    text = tiny_recipe.text_file(tmp_path)
    tiny_recipe.train(tiny_recipe.recipe(text, training={"steps": 1, "evaluate_every": 1}), tmp_path / "r")
    text.rename("moved.txt")
    said = refused("evaluate", "r", code=1)
    assert "the data of this run (data.train) cannot be read from here" in said
    assert "data.train=PLACE" in said
    assert command("evaluate", "r", "data.train=moved.txt").code == 0
    assert command("fill", "r", "sun [MASK]").code == 0
    assert command("attention", "r", "sun moon", "--output", "a.json").code == 0
    assert command("info", "r").code == 0


def test_evaluate_changes_only_the_data() -> None:
    assert "does not change the data" in refused("evaluate", run_folder(), "model.d_model=24")
    assert "did you mean" in refused("evaluate", run_folder(), "data.tset=a.txt")


# --------------------------------------------------------------------------------------------- unforeseen


def test_an_empty_text_has_no_score() -> None:
    assert "the text is empty" in refused("score", run_folder(), " ")


def test_what_the_operating_system_refuses(tmp_path: Path) -> None:
    """No part foresees a name that is too long; it is still no traceback."""
    assert "name too long" in refused("fill", "x" * 5000, TEXT, code=1)


@pytest.mark.parametrize(
    "arguments, error",
    [
        (("fill",), "Missing argument 'RUN'"),
        (("nothing",), "No such command 'nothing'"),
        (("fill", "r", "--top", "0"), "'--top': Input should be greater than or equal to 1"),
        (("fill", "r", "--top", "many"), "'--top'"),
        (("evaluate", "r", "--split", "x"), "'--split'"),
        (("generate", "r", "text", "--beam", "0"), "'--beam': Input should be greater than or equal to 1"),
        (("look", "mask", "r"), "Missing argument 'TEXT'"),
        (("look", "nothing"), "No such command 'nothing'"),
    ],
)
def test_wrong_use_of_a_command_is_explained(arguments: tuple[str, ...], error: str) -> None:
    """As all errors are: what is wrong, and where help is."""
    said = refused(*arguments)
    assert error in said.splitlines()[0]
    known = [word for word in arguments[:2] if word in ("fill", "evaluate", "generate", "look", "mask")]
    assert said.splitlines()[1].strip() == f"see {' '.join(['glassformer', *known])} --help"


@pytest.mark.parametrize("arguments", [(), ("look",)])
def test_without_a_command_there_is_help(arguments: tuple[str, ...]) -> None:
    said = command(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"Usage: {' '.join(['glassformer', *arguments])} [OPTIONS] COMMAND")
