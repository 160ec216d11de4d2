"""The command line: what each command answers, for people and, as docs/json.md has it, for programs."""

import functools
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tiny_recipe
import yaml
from trained import (
    TEXT,
    Said,
    alike_folder,
    answerer_folder,
    classifier_folder,
    command,
    copy_of_run,
    generator_folder,
    run_folder,
    tagger_folder,
)

import glassformer
from glassformer import launch, views
from glassformer.ask.run import load
from glassformer.cli import terminal
from glassformer.cli.terminal import readable
from glassformer.look.measures import downsample
from glassformer.progress import report_progress, stoppable
from glassformer.recipe import to_yaml

COMMANDS = [
    *("train", "curve", "preview", "doctor", "demo", "recipes"),
    *("fill", "classify", "tag", "answer", "generate", "score", "evaluate", "attention", "ablate"),
    *("similarity", "embed"),
    *("runs", "info", "compare", "strategies", "studio", "export", "import", "look"),
]
VIEWS = [
    *(
        "mask",
        "generation",
        "steps",
        "shapes",
        "positions",
        "masks",
        "schedule",
        "attribution",
        "lens",
        "torch",
        "heads",
    ),
    *("heads", "dependencies", "pronoun", "word", "film", "confusion"),
]
DOCUMENT = Path(__file__).parent.parent / "docs" / "json.md"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No command writes into the folder that the tests are started from; no training draws its pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch, "draw_report", lambda run: None)


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    file = tmp_path / "mine.yaml"
    text = tiny_recipe.text_file(tmp_path)
    file.write_text(to_yaml(tiny_recipe.recipe(text, training={"steps": 4, "evaluate_every": 2})))
    return file


# -------------------------------------------------------------------------------------------------------- help


@functools.lru_cache
def help_of(*arguments: str) -> Said:
    """In a process of its own that fails when the answer needed torch or anything else that is slow to import."""
    program = f"""
import sys
sys.argv = ["glassformer", *{arguments!r}, "--help"]
from glassformer.cli import main
try:
    main()
finally:
    heavy = {{"torch", "numpy", "matplotlib", "tokenizers", "datasets"}} & set(sys.modules)
    assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    return Said(done.returncode, done.stdout, done.stderr)


def test_the_version() -> None:
    said = command("--version")
    assert (said.code, said.out) == (0, f"glassformer {glassformer.__version__}\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_answers_without_torch(name: str) -> None:
    said = help_of(name)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"Usage: glassformer {name}")


def test_help_lists_every_command_with_a_whole_sentence() -> None:
    said = help_of()
    assert said.code == 0
    listed = re.findall(r"^  (\w+) +(.*)$", said.out.partition("Commands:")[2], re.MULTILINE)
    assert [name for name, _ in listed] == COMMANDS
    assert all(sentence.endswith(".") and not sentence.endswith("...") for _, sentence in listed)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("train", ["RECIPE <str>", "--run <path>", "KEY=VALUE", "without it runs/NAME"]),
        ("fill", ["--top <int range>", "[default: 5; x>=1]", "--file <path>", "RUN <path>"]),
        ("evaluate", ["--split <train|validation|test>", "[default: validation]"]),
        ("attention", ["--layer <int>", "without it all", "--head <str>", "[default: all]", "[default: heatmap]"]),
        ("compare", ["--output <path>", "[required]"]),
        ("demo", ["[default: runs/mlm-demo]"]),
        ("runs", ["[default: runs]"]),
    ],
)
def test_help_has_types_and_defaults(name: str, words: list[str]) -> None:
    text = " ".join(help_of(name).out.split())
    for expected in words:
        assert expected in text


def test_every_option_is_explained() -> None:
    for names in [*([name] for name in COMMANDS), *(["look", view] for view in VIEWS)]:
        for line in help_of(*names).out.partition("Options:")[2].partition("Commands:")[0].splitlines():
            option = re.match(r"  (--\S+)( / --\S+)?( <.*>(\.\.\.)?)?( {2,}\S+|$)", line)
            assert line.startswith("   ") or not line or option, line


def test_no_arguments_show_the_help_and_are_wrong_use() -> None:
    said = command()
    assert said.code == 2
    assert "Commands:" in said.out + said.err


# ----------------------------------------------------------------------------------- --json is what is documented


class Documented(NamedTuple):
    """One command of docs/json.md: its example and the keys of its table."""

    arguments: list[str]
    example: Any
    keys: list[str]


def documented() -> Iterator[Documented]:
    """Every command of the document that has an example."""
    text = DOCUMENT.read_text(encoding="utf-8")
    pattern = r"```\nglassformer (.*?)\n```\n\n```json\n(.*?)\n```\n\n\| key \|.*\n\|[-|]+\|\n((?:\|.*\n)+)"
    for line, example, rows in re.findall(pattern, text):
        yield Documented(shlex.split(line), json.loads(example), re.findall(r"^\| `(.*?)` \|", rows, re.MULTILINE))


def paths(value: Any, prefix: str = "") -> set[str]:
    """Where numbers and words lie in a value: `blanks[].position`."""
    if isinstance(value, dict) and value:
        return {path for key, item in value.items() for path in paths(item, f"{prefix}.{key}" if prefix else key)}
    if isinstance(value, list) and value:
        return {path for item in value for path in paths(item, f"{prefix}[]")}
    return {prefix}


def kinds(value: Any, example: Any, place: str = "") -> None:
    """Numbers where the example has numbers, and so on; null may stand anywhere."""
    if value is None or example is None or example == {} or place.endswith((".default", ".value", ".head")):
        return
    if isinstance(example, dict):
        assert list(value) == list(example), place
        for key in example:
            kinds(value[key], example[key], f"{place}.{key}")
    elif isinstance(example, list):
        assert isinstance(value, list), place
        for item in value:
            kinds(item, example[0], f"{place}[]")
    elif isinstance(example, float):
        assert isinstance(value, int | float), place
    else:
        assert type(value) is type(example), (place, value)


def answer_to(case: Documented, recipe_file: Path, tmp_path: Path) -> Any:
    """The command of the document, carried out."""
    places = {
        "RUN": str(run_folder()),
        "GENERATOR": str(generator_folder()),
        "CLASSIFIER": str(classifier_folder()),
        "TAGGER": str(tagger_folder()),
        "ALIKE": str(alike_folder()),
        "TEXTS": str(tiny_recipe.text_file(tmp_path, ["Mars is red", "The sun is a star"], "lines.txt")),
        "ANSWERER": str(answerer_folder()),
        "RECIPE": str(recipe_file),
        "NEW": str(tmp_path / "new"),
    }
    places["FOLDER"] = str(run_folder().parent)
    arguments = [places.get(a, str(tmp_path / a) if a.startswith("FILE") else a) for a in case.arguments]
    said = command(*arguments)
    assert said.code == 0, said.err
    assert said.out.isascii()
    assert said.out.count("\n") == 1, "one value on one line"
    return said.json


CASES = list(documented())


@pytest.mark.parametrize("case", CASES, ids=[" ".join(case.arguments[:2]) for case in CASES])
def test_answers_are_as_documented(case: Documented, recipe_file: Path, tmp_path: Path) -> None:
    """Table, example and answer name the same keys; a key may stand for all below it."""
    answer = answer_to(case, recipe_file, tmp_path)
    kinds(answer, case.example)
    for value in (case.example, answer):
        for path in paths(value):
            assert any(path == key or path.startswith((f"{key}.", f"{key}[")) for key in case.keys), path
        for key in case.keys:
            assert any(path == key or path.startswith((f"{key}.", f"{key}[")) for path in paths(value)), key


def test_every_json_command_is_documented() -> None:
    """`curve` trains a whole grid: its keys are held against the page in test_curve.py, where one is trained."""
    with_json = {name for name in COMMANDS if "--json" in help_of(name).out} | {"attention", "look"}
    assert {case.arguments[0] for case in CASES} | {"curve"} == with_json


def test_the_numbers_of_every_view_are_documented() -> None:
    """Executed above, or named where the document describes the others."""
    others = DOCUMENT.read_text(encoding="utf-8").partition("### The other views")[2].partition("###")[0]
    named = {name for name in VIEWS if re.search(rf"`(?:look\s)?{name}`", others)}
    executed = {case.arguments[1] for case in CASES if case.arguments[0] == "look"}
    assert not named & executed
    assert named | executed == set(VIEWS)


def test_the_arrays_of_npz_are_as_documented(tmp_path: Path) -> None:
    [table] = re.findall(r"\| array \|.*\n\|[-|]+\|\n((?:\|.*\n?)+)", DOCUMENT.read_text(encoding="utf-8"))
    rows = [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in table.strip().splitlines()]
    command("attention", run_folder(), TEXT, "--output", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert sorted(arrays) == sorted(name for name, _, _ in rows)
        for name, kind, shape in rows:
            assert arrays[name].ndim == len(shape.split(" x "))
            assert arrays[name].dtype == kind or (kind == "string" and arrays[name].dtype.kind == "U")


def test_fill_json_is_exactly_this() -> None:
    said = command("fill", run_folder(), TEXT, "--json", "--top", "2")
    assert list(said.json) == ["text", "blanks"]
    [blank] = said.json["blanks"]
    assert list(blank) == ["position", "candidates"]
    assert [list(candidate) for candidate in blank["candidates"]] == [["token", "probability"]] * 2


# -------------------------------------------------------------------------------------------------------- fill


def test_texts_from_arguments_file_and_standard_input_give_the_same(tmp_path: Path) -> None:
    texts = [TEXT, "The [MASK] is the [MASK]"]
    file = tmp_path / "texts.txt"
    file.write_text("\n\n".join(texts) + "\n")
    by_arguments = command("fill", run_folder(), *texts, "--json")
    for said, where in (
        (command("fill", run_folder(), "--file", file, "--json"), str(file)),
        (command("fill", run_folder(), "--json", stdin=file.read_bytes()), "standard input"),
    ):
        assert said.out == by_arguments.out
        assert f"note: line 2 of {where} is blank; blank lines get no answer" in said.err.replace("\n", " ")
    file.write_text("\n".join(texts) + "\n\n")  # at the end they change no line's number
    assert command("fill", run_folder(), "--file", file, "--json") == by_arguments
    assert [len(json.loads(line)["blanks"]) for line in by_arguments.out.splitlines()] == [1, 2]


def test_fill_for_people_numbers_several_blanks() -> None:
    said = command("fill", run_folder(), TEXT, "The [MASK] is the [MASK]", "--top", "2")
    lines = said.out.splitlines()
    assert lines[0] == TEXT
    assert re.fullmatch(r"  \S+ \d+\.\d%   \S+ \d+\.\d%", lines[1])
    assert lines[2] == "The [MASK] is the [MASK]"
    assert [line[:5] for line in lines[3:]] == ["  1. ", "  2. "]


def test_more_candidates_than_there_are_words() -> None:
    said = command("fill", run_folder(), TEXT, "--json", "--top", "100000")
    probabilities = [c["probability"] for c in said.json["blanks"][0]["candidates"]]
    assert sum(probabilities) == pytest.approx(1, abs=1e-5)


def test_unknown_words_are_a_warning_beside_the_answer() -> None:
    said = command("fill", run_folder(), "Zorblax is [MASK]", "--json")
    assert said.code == 0
    assert said.err == "not in the vocabulary, read as unknown: Zorblax\n"
    assert said.json["text"] == "Zorblax is [MASK]"


def test_what_would_steer_a_terminal_is_shown_instead() -> None:
    said = command("fill", run_folder(), "\x1b[31mMars is [MASK]")
    assert "\x1b" not in said.out + said.err
    assert said.out.startswith("\\x1b[31mMars")


# ------------------------------------------------------------------------------------------------ other answers


@pytest.mark.parametrize(
    ("losses", "intervals", "told"),
    [
        ((4.0, 4.1), ([3.8, 4.2], [3.9, 4.3]), False),
        ((4.0, 4.25), ([3.8, 4.2], [3.9, 4.6]), True),
        ((4.0, 6.0), ([3.8, 4.2], [5.9, 6.1]), True),
        ((4.0, 4.1), ([3.8, 4.2], None), True),
    ],
    ids=["each in the other's", "one in the other's", "far apart", "a run of an older version"],
)
def test_compare_says_which_runs_it_cannot_tell_apart(losses: Any, intervals: Any, told: bool) -> None:
    rows = [
        {"run": name, "best_loss": loss, "loss_interval": interval, "count": 300}
        for name, loss, interval in zip("ab", losses, intervals, strict=True)
    ]
    said = terminal.undecided(rows)
    assert said == [] if told else "a and b" in said[0] and "cannot tell which is better" in said[0]


def test_two_copies_of_a_run_cannot_be_told_apart(tmp_path: Path) -> None:
    said = command("compare", copy_of_run(tmp_path, "one"), copy_of_run(tmp_path, "two"))
    assert "one and two: their questions" in said.out


def test_train_a_yaml_file_and_say_where_the_run_is(recipe_file: Path, tmp_path: Path) -> None:
    said = command("train", recipe_file, "model.d_model=15")
    assert said.code == 0
    assert re.search(r"validation loss \d\.\d{4} at step \d, in runs/mine", said.out)
    evaluations = [record for record in load("runs/mine").metrics() if record["event"] == "evaluation"]
    assert next(record["verdict"] for record in reversed(evaluations) if record["kept"]) in said.out
    assert 'glassformer fill runs/mine "a text with a [MASK]"' in said.out
    assert (tmp_path / "runs" / "mine" / "recipe.yaml").is_file()
    assert command("info", "runs/mine", "--json").json["model"]["d_model"] == 15


def test_train_and_resume_further(recipe_file: Path) -> None:
    assert command("train", recipe_file, "--run", "one", "--json").code == 0
    said = command("train", "training.steps=6", "--resume", "--run", "one", "--json")
    assert said.code == 0, said.err
    assert "training.steps extended from 4 to 6" in said.err
    assert command("info", "one", "--json").json["results"]["last_step"] == 6


def test_a_text_of_ones_own(tmp_path: Path) -> None:
    text = tiny_recipe.text_file(tmp_path, tiny_recipe.sentences(60), "my.txt")
    said = command("train", text, "training.steps=2", "model.d_model=24", "training.device=cpu", "training.threads=1")
    assert said.code == 0, said.err
    assert "my.txt: 60 texts" in said.err
    assert Path("runs/my/recipe.yaml").is_file()


def test_a_file_name_that_is_not_utf_8(tmp_path: Path) -> None:
    text = tmp_path / os.fsdecode(b"caf\xe9.txt")
    text.write_text("\n".join(tiny_recipe.sentences(60)))
    quick = ("training.steps=2", "model.d_model=24", "training.device=cpu", "training.precision=32-true")
    said = command("train", text, *quick, "--run", "cafe")
    assert said.code == 0, said.err
    assert command("evaluate", "cafe").code == 0


def test_evaluate_on_other_data(tmp_path: Path) -> None:
    text = tiny_recipe.text_file(tmp_path, ["Mars is called the red planet"] * 3)
    said = command("evaluate", run_folder(), f"data.test={text}", "--split", "test", "--json")
    assert said.json["count"] == 3 * 6
    assert said.json["asked_in"] == "3 texts"


def test_tables_for_people() -> None:
    """Every mean with its interval, how much was asked, and what was not."""
    said = command("evaluate", run_folder())
    lines = dict(re.split(r"  +", line, maxsplit=1) for line in said.out.splitlines())
    assert lines["split"] == "validation"
    assert re.fullmatch(r"\d\.\d{3} \(\d\.\d{3} to \d\.\d{3}\)", lines["loss"])
    assert re.fullmatch(r"[<\d.]+% \(\d+\.\d to \d+\.\d\)", lines["accuracy"])
    assert re.fullmatch(r"\d+ in 18 texts", lines["questions"])
    assert re.match(r"\d+ \(\d+\.\d% of the words\): never asked", lines["unknown words"])
    assert "nats" in lines["unit of the loss"] and "1 bit" in lines["unit of the loss"]
    assert {"top-5 accuracy", "perplexity", "accuracy of all words", "guessed most"} <= lines.keys()


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_a_narrow_terminal_breaks_what_it_has_no_room_for() -> None:
    """Rows of one name to the last sign but one can still be told apart, and every number is whole."""
    _, out = in_terminal("ablate", str(run_folder()), "--parts", "heads", "--units", "4", columns=72)
    said = re.sub(r"\x1b\[[0-9;]*[mK]", "", out.decode())
    assert "encoder.blocks.0.self_attention:1 " in said and "…" not in said
    assert max(map(len, said.splitlines())) <= 72


def test_every_key_of_a_recipe() -> None:
    said = command("recipes", "mlm-demo")
    assert "model.n_heads = 4    (int; default " in said.out
    assert (
        "tokenizer.kind = word    (word | wordpiece | bpe | unigram | character | byte; default wordpiece)" in said.out
    )
    assert "data.test = none    (str | list of str | none; default none)" in said.out
    keys = [row["key"] for row in command("recipes", "mlm-demo", "--json").json]
    assert len(keys) == len(set(keys)) > 40
    assert [line.split(" = ")[0] for line in said.out.splitlines() if not line.startswith(" ")] == keys
    assert all(
        row["meaning"] for row in command("recipes", "mlm-demo", "--json").json if row["key"] != "objective.name"
    )


def test_a_recipe_with_a_list_of_sections_is_listed_too() -> None:
    """The members of a mixture, those that it has and those by default, as they stand in a recipe."""
    rows = {row["key"]: row for row in command("recipes", "text-to-text-demo", "--json").json}
    members = rows["objective.members"]
    assert [member["label"] for member in members["value"]] == ["paraphrase", "answer", "translate"]
    assert [member["objective"]["name"] for member in members["default"]] == ["masked_lm", "causal_lm"]
    said = command("recipes", "text-to-text-demo")
    [line] = [line for line in said.out.splitlines() if line.startswith("objective.members = ")]
    assert "Member(" not in said.out and "(list of Member; default [{" in line
    written = line.removeprefix("objective.members = ").partition("    (")[0]
    assert yaml.safe_load(written) == members["value"]


def test_every_recipe_is_listed() -> None:
    names = [row["recipe"] for row in command("recipes", "--json").json]
    out = command("recipes").out
    assert all(name in out for name in names)


def test_runs_in_a_folder_and_in_none(tmp_path: Path) -> None:
    copy_of_run(tmp_path / "runs", "b")
    copy_of_run(tmp_path / "runs", "a")
    assert [row["run"] for row in command("runs", "--json").json] == ["a", "b"]
    heading, row, _, *verdicts = command("runs").out.splitlines()
    assert [line.split(":")[0] for line in verdicts] == ["a", "b"]
    assert verdicts[0].endswith(command("info", "runs/a", "--json").json["verdict"])
    assert row.split()[0] == "a"
    assert len(heading.rstrip()) <= 100
    assert all(word in heading for word in ("best loss", "perplexity", "accuracy", "last step", "seconds", "gap"))
    said = command("runs", "nowhere")
    assert (said.code, said.out) == (0, "no runs in nowhere; make one: glassformer train mlm-demo\n")
    assert command("runs", "nowhere", "--json").json == []


def test_info_is_a_line_for_each_fact() -> None:
    out = command("info", run_folder()).out
    assert re.search(r"^model +n_layers +2$", out, re.MULTILINE)
    assert re.search(r"^ +d_model +12$", out, re.MULTILINE)
    assert re.search(r"^checkpoints +step-12, step-24$", out, re.MULTILINE)


@pytest.mark.parametrize(
    ("value", "key", "words"),
    [
        (None, "", "-"),
        (0.07246, "top5_accuracy", "7.2%"),
        (6.59561, "loss", "6.596"),
        (12345.6, "perplexity", "12,346"),
        (1234567, "tokens_seen", "1,234,567"),
        (True, "compile", "yes"),
        ([], "checkpoints", "-"),
    ],
)
def test_readable(value: Any, key: str, words: str) -> None:
    assert readable(value, key) == words


# ---------------------------------------------------------------------------------------- pipes and terminals


def test_a_reader_that_leaves_early() -> None:
    """`glassformer recipes mlm-demo | head -1`: no traceback, nothing said; with a table as with plain lines."""
    command_line = [sys.executable, "-m", "glassformer.cli", "recipes"]
    both = [
        subprocess.Popen([*command_line, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for more in (["mlm-demo"], [])
    ]
    for writer in both:
        assert writer.stdout is not None
        writer.stdout.close()
    for writer in both:
        assert writer.stderr is not None
        assert writer.stderr.read() == b""
        writer.stderr.close()
        assert writer.wait() == 1


def in_terminal(*arguments: str, keys: bytes = b"", until: bytes = b"\0never", columns: int = 100) -> tuple[int, bytes]:
    """Run a command with a pseudo-terminal as its standard streams, typing `keys` once `until` is shown."""
    import pty

    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"TERM": "xterm", "COLUMNS": str(columns)}
        os.execv(sys.executable, [sys.executable, "-m", "glassformer.cli", *arguments])
    shown, typed = b"", False
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # how Linux says that the other side has closed
            break
        if not part:
            break
        shown += part
        if until in shown and not typed:
            os.write(terminal, keys)
            typed = True
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_fill_asks_on_a_terminal_and_survives_a_mistake() -> None:
    typed = b"no blank here\n" + TEXT.encode() + b"\nbad \xff [MASK]\n" + b"\n"
    code, shown = in_terminal("fill", str(run_folder()), "--top", "1", keys=typed, until=b"> ")
    text = shown.decode(errors="replace")
    assert code == 0, text
    assert "a text with [MASK], or an empty line to end" in text
    assert "error: there is no blank in 'no blank here'" in text
    assert re.search(r"  red +\d+\.\d%|  \S+ \d+\.\d%", text)
    assert "lone surrogate" in text
    assert "Traceback" not in text


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_training_on_a_terminal_shows_a_live_bar(recipe_file: Path, tmp_path: Path) -> None:
    code, shown = in_terminal("train", str(recipe_file), "training.steps=60", "--run", str(tmp_path / "r"))
    text = shown.decode(errors="replace")
    assert code == 0, text
    for expected in ("training", "━", "/60", "tokens/s", "left", "loss", "validation loss"):
        assert expected in text


def test_lines_only_where_there_is_no_terminal(recipe_file: Path) -> None:
    said = command("train", recipe_file, "--run", "r", "--json")
    assert said.json["run"] == "r"
    assert "\x1b" not in said.err
    assert "\r" not in said.err
    assert "validation loss" in said.err


# ------------------------------------------------------------------------------------------------------- long work


@pytest.mark.parametrize("live", [True, False])
def test_long_work_says_how_far_it_is(live: bool, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """After two seconds, where it knows; not at every step; in a terminal nothing is left of it."""
    now = [100.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: live)
    with terminal.patience():
        for done in range(3000):
            report_progress(done, 3000)
            report_progress()
            now[0] += 0.01
    err = capsys.readouterr().err
    assert err.endswith("\r\x1b[K" if live else "\n")
    said = [line for line in err.replace("\x1b[K", "").replace("\r", "\n").split("\n") if line]
    assert said[0] == ("200 of 3,000" if live else "1,000 of 3,000")
    assert len(said) == (140 if live else 2)
    with terminal.patience():
        report_progress(1, 2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("view", ["mask", "attribution", "ablate"])
def test_views_that_take_long_know_how_far_they_are(view: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the large maps, then of what is switched off or hidden: from nothing on, ever further, never all of it."""
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(downsample, "WHOLE_UP_TO", 0)
    run = glassformer.load(run_folder())
    with stoppable(lambda done, of: told.append((done, of)) if of else None):
        views.ablate(run, "heads") if view == "ablate" else getattr(views, view)(run, TEXT)
    assert told[0][0] == 0 and all(done < of for done, of in told)
    assert all(done == 0 or done > before for (before, _), (done, _) in itertools.pairwise(told))
