"""A recipe for a text of one's own: chosen from the data, said aloud, and able to train."""

import os
import random
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import tiny_recipe
from trained import refused

from glassformer import suggest
from glassformer.data.builtin import sentences
from glassformer.data.choice import choose_tokenizer, unseen_share
from glassformer.data.survey import Survey
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
from glassformer.errors import UsageError
from glassformer.recipe import Recipe, apply_changes, shipped
from glassformer.suggest import (
    choose_max_length,
    choose_size,
    counted,
    is_own_text,
    merged,
    recipe_for_text,
    suggestion,
)

UDHR = Path(os.environ.get("GLASSFORMER_DATA") or "absent") / "udhr"
QUICK = ("training.steps=2", "training.device=cpu", "training.precision=32-true", "training.threads=1")


def chosen_for(source: Path, *changes: str) -> tuple[Recipe, str]:
    """The recipe, and what was said."""
    said: list[str] = []
    recipe = recipe_for_text(str(source), apply_changes({}, changes), said.append)
    return recipe, "\n".join(said)


def trains(source: Path, tmp_path: Path, *changes: str) -> Recipe:
    """Train two steps by the chosen recipe. What is chosen in width is narrowed for speed; nothing else is."""
    narrow = ("model.d_model=24", "model.d_ff=24", "model.n_layers=1")
    recipe, _ = chosen_for(source, *QUICK, *narrow, *changes)
    run = tiny_recipe.train(recipe, tmp_path / "run")
    assert [record["step"] for record in run.metrics() if record["event"] == "train"][-1] == 2
    return recipe


def facts(words: int) -> list[str]:
    """Lines of the built-in facts with about so many words; further words are made up, as a long text has them."""
    lines = list(sentences("facts", "train"))
    rng = random.Random(3)
    while sum(len(line.split()) for line in lines) < words:
        lines.append(" ".join(rng.choice(("ka", "lu", "mi", "no")) * rng.randint(1, 4) for _ in range(12)) + ".")
    total, kept = 0, []
    for line in lines:
        total += len(line.split())
        kept.append(line)
        if total >= words:
            break
    return kept


def test_a_text_of_300_words(tmp_path: Path) -> None:
    text = tiny_recipe.text_file(tmp_path, facts(300))
    recipe = trains(text, tmp_path)
    assert recipe.tokenizer.kind == "word"
    assert recipe.data.validation_share == 0.2
    _, said = chosen_for(text)
    assert "words" in said
    assert "word tokenizer" in said
    assert "2 layers of width 128" in said
    assert "0.5 minutes of training" in said
    assert "60 passes over the text are enough: more minutes would buy nothing" in said
    assert "20% of the texts are held out" in said
    assert "every choice can be changed" in said


def test_a_text_of_30_000_words(tmp_path: Path) -> None:
    text = tiny_recipe.text_file(tmp_path, facts(30_000))
    recipe = trains(text, tmp_path, "training.evaluate_units=20")
    assert recipe.tokenizer.kind == "wordpiece"
    assert recipe.batch.size == 32


def test_one_line(tmp_path: Path) -> None:
    """Of one text the end is held out, and that is said."""
    text = tmp_path / "one.txt"
    text.write_text(" ".join(facts(300)))
    recipe = trains(text, tmp_path)
    assert recipe.data.validation is None
    _, said = chosen_for(text)
    assert "20% of the text, its end, is held out to measure on" in said


def speed(monkeypatch: pytest.MonkeyPatch, products: float) -> None:
    """A machine that makes so many products a second."""
    monkeypatch.setattr(suggest, "speed_of_this_machine", lambda: products)


def test_the_model_is_what_text_minutes_and_machine_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    """More of each makes it larger or leaves it; little of any of them keeps it small."""

    def width(tokens: int, minutes: float, products: float) -> int:
        speed(monkeypatch, products)
        return choose_size(tokens, minutes, 4096)["d_model"]

    assert width(10**9, 600.0, 1e13) == 512
    assert width(10**4, 600.0, 1e13) == width(10**9, 1.0, 1e10) == 128
    for tokens, minutes, products in ((10**5, 5.0, 1e11), (10**6, 2.0, 1e11), (10**7, 15.0, 1e10)):
        width_here = width(tokens, minutes, products)
        assert width(tokens * 10, minutes, products) >= width_here
        assert width(tokens, minutes * 10, products) >= width_here
        assert width(tokens, minutes, products * 10) >= width_here


def test_what_more_minutes_would_buy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A larger model where the text could teach one; nothing where all passes fit already."""
    speed(monkeypatch, 3e10)
    large = tiny_recipe.text_file(tmp_path, facts(400) * 3000, "large.txt")
    recipe, said = chosen_for(large, "training.minutes=1")
    assert recipe.model.d_model == 128
    [line] = [line for line in said.split("\n") if "would take" in line]
    minutes, width = re.search(r"training.minutes=(\d+) would take \d layers of width (\d+)", line).groups()
    longer, _ = chosen_for(large, f"training.minutes={minutes}")
    assert longer.model.d_model == int(width) > 128
    _, said = chosen_for(tiny_recipe.text_file(tmp_path, facts(300)), "training.minutes=1")
    assert "more minutes would buy nothing" in said


def test_the_minutes_are_those_of_the_person_and_the_passes_bounded(tmp_path: Path) -> None:
    recipe, _ = chosen_for(tiny_recipe.text_file(tmp_path, facts(300)), "training.minutes=3")
    assert recipe.training.minutes == 3
    assert recipe.training.max_epochs == suggest.MOST_PASSES


def test_a_preset_wins_over_what_is_chosen(tmp_path: Path) -> None:
    """Its parts are not those of the recipe maker, whose sizes stay; what the person says beside it wins over both."""
    text = tiny_recipe.text_file(tmp_path, facts(300))
    chosen, _ = chosen_for(text)
    bert, _ = chosen_for(text, "model.preset=bert")
    assert (chosen.model.positions, bert.model.positions, bert.model.norm) == ("rotary", "learned", "post")
    assert bert.model.d_model == chosen.model.d_model
    both, _ = chosen_for(text, "model.preset=bert", "model.positions=alibi")
    assert both.model.positions == "alibi"


def test_a_survey_is_bounded_and_drawn_from_everywhere() -> None:
    """Counts are of all texts; the sample is a share of them, from beginning to end."""
    texts = [f"text number {n} " + "x" * (n % 7) for n in range(5000)]
    small = Survey(texts, limit=10_000)
    assert (small.texts, small.characters) == (5000, sum(map(len, texts)))
    assert sum(map(len, small.sample)) <= 10_000
    assert not small.is_whole
    numbers = [int(text.split()[2]) for text in small.sample]
    assert min(numbers) < 100 and max(numbers) > 4900 and len(numbers) > 200
    assert abs(small.words / sum(len(text.split()) for text in texts) - 1) < 0.02
    whole = Survey(texts)
    assert whole.is_whole and whole.sample == texts
    assert whole.words == sum(len(text.split()) for text in texts)
    assert len(Survey(["y " * 10**5], limit=1000).sample[0]) == 1000


def test_two_lines_are_split(tmp_path: Path) -> None:
    lines = facts(400)
    text = tiny_recipe.text_file(tmp_path, [" ".join(lines[:30]), " ".join(lines[30:])])
    assert trains(text, tmp_path).data.validation is None


def test_a_folder_of_several_files(tmp_path: Path) -> None:
    folder = tmp_path / "texts" / "inner"
    folder.mkdir(parents=True)
    lines = facts(600)
    tiny_recipe.text_file(folder.parent, lines[:40], "a.txt")
    tiny_recipe.text_file(folder, lines[40:], "b.txt")
    recipe = trains(folder.parent, tmp_path)
    _, said = chosen_for(folder.parent)
    assert f"{len(lines)} texts" in said
    assert recipe.objective.model_dump()["units"] == "documents"


@pytest.mark.data
@pytest.mark.skipif(not UDHR.is_dir(), reason="GLASSFORMER_DATA is not set")
@pytest.mark.parametrize("language", ["jpn", "tha"])
def test_a_script_without_spaces(tmp_path: Path, language: str) -> None:
    [text] = UDHR.glob(f"{language}*")
    assert trains(text, tmp_path).tokenizer.kind == "unigram"


def test_a_script_without_spaces_made_up(tmp_path: Path) -> None:
    """The same without the public data."""
    rng = random.Random(1)
    syllables = [chr(0x3042 + 2 * n) for n in range(30)]
    lines = ["".join(rng.choices(syllables, k=40)) + "。" for _ in range(40)]
    recipe = trains(tiny_recipe.text_file(tmp_path, lines), tmp_path)
    assert recipe.tokenizer.kind == "unigram"


@pytest.mark.parametrize("kind", ["word", "wordpiece", "bpe", "unigram", "character", "byte"])
def test_every_kind_of_tokenizer_can_be_asked_for(tmp_path: Path, kind: str) -> None:
    """What was chosen for another kind does not get in the way."""
    recipe = trains(tiny_recipe.text_file(tmp_path, facts(300)), tmp_path, f"tokenizer.kind={kind}")
    assert recipe.tokenizer.kind == kind


def test_changes_win_and_what_is_said_is_what_is_done(tmp_path: Path) -> None:
    text = tiny_recipe.text_file(tmp_path, facts(300))
    recipe, said = chosen_for(text, "model.d_model=36", "model.n_heads=3", "training.epochs=2", "model.max_length=24")
    assert (recipe.model.d_model, recipe.training.epochs, recipe.training.minutes) == (36, 2, None)
    assert "width 36" in said
    assert "2 epochs of training" in said
    assert "reads 24 tokens at once" in said


def test_columns_and_documents_are_taken_from_the_changes(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("title,words\n" + "".join(f"{n},{line}\n" for n, line in enumerate(facts(300))))
    assert trains(table, tmp_path, "data.column=words").data.column == "words"


def test_too_short_is_said_with_what_would_be_enough(tmp_path: Path) -> None:
    text = tiny_recipe.text_file(tmp_path, ["hello there"])
    with pytest.raises(UsageError, match=r"too short to learn from: 2 words in 1 text\na few hundred words"):
        chosen_for(text)


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ("data=5", "data=5"),
        ("batch.size=[1, 2]", "batch.size='[1, 2]'"),
        ("data.document=page", "data.document='page'"),
        ("tokenizer=5", "tokenizer=5"),
        ("tokenizer.kind=words", "tokenizer.kind='words'"),
        ("model.n_head=2", "did you mean 'model.n_heads'?"),
        ("training.steps=many", "training.steps='many'"),
        ("training.steps", "is not key=value"),
    ],
)
def test_wrong_changes(tmp_path: Path, change: str, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = tiny_recipe.text_file(tmp_path, facts(300))
    assert answer in refused("train", text, change)
    assert not Path("runs").exists()


def test_what_is_a_text_and_what_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes").write_text("a text without a suffix")
    (tmp_path / "mlm-demo").mkdir()
    for text in ("notes", ".", "gone.txt", "folder/gone", "texts/*", "hub:a/b", "builtin:facts/train", "x.csv"):
        assert is_own_text(text), text
    for recipe in (*shipped(), "my.yaml", "my.yml", "mlm-dmeo"):
        assert not is_own_text(recipe), recipe


def test_the_vocabulary_grows_with_the_text() -> None:
    few, many = facts(300), facts(4000)
    assert choose_tokenizer(few)["vocab_size"] < choose_tokenizer(many)["vocab_size"]
    assert choose_tokenizer(few, "byte")["vocab_size"] == 261


def test_max_length_holds_99_of_100_within_its_limits() -> None:
    import numpy as np

    lengths = np.array([10] * 99 + [1000])
    assert choose_max_length(lengths[:99], 1.0) == 16
    assert choose_max_length(np.array([50] * 100), 1.0) == 56
    assert choose_max_length(np.array([50] * 100), 1.4) == 72
    assert choose_max_length(np.array([5000] * 100), 1.0) == 128
    assert choose_max_length(np.array([5000] * 100), 1.0, minutes=2.0) == 64
    assert choose_max_length(np.array([5000] * 100), 6.0, minutes=2.0) == 128, "characters are many"


def test_merged_replaces_a_length_in_other_units() -> None:
    tree = suggestion("x.txt", Survey(facts(300)))
    training = merged(tree, {"training": {"steps": 5}})["training"]
    assert training["steps"] == 5
    assert not {"minutes", "max_epochs"} & set(training)
    assert merged(tree, {"training": {"minutes": 5}})["training"]["minutes"] == 5


@pytest.mark.parametrize(
    ("number", "words"),
    [(1, "1 layer"), (2, "2 layers"), (1.0, "1 layer"), (0.5, "0.5 layers"), (1234, "1,234 layers")],
)
def test_counted(number: int | float, words: str) -> None:
    assert counted(number, "layer") == words


def tokenizer_of(lines: list[str], **wanted: Any) -> str:
    return choose_tokenizer(lines, **wanted)["kind"]


def test_the_script_is_that_of_the_letters_and_not_the_length_of_words() -> None:
    rng = random.Random(5)
    verses = ["".join(rng.choices("心门桥秋白前鸟来风山", k=5)) + "，" for _ in range(300)]
    assert tokenizer_of(verses) == "unigram"  # short half lines were taken for words
    ids = [f"see https example {'a1b2c3d4e5' * 10} for the notes number {n % 9}" for n in range(200)]
    assert tokenizer_of(ids) == "word"  # one long id was taken for a script
    dna = ["".join(rng.choices("ACGT", k=200)) for _ in range(100)]
    assert tokenizer_of(dna) == "character"
    assert choose_tokenizer(dna)["vocab_size"] == 64
    assert choose_tokenizer(verses, "wordpiece")["vocab_size"] < 1000


def test_many_rare_words_are_read_in_pieces() -> None:
    rng = random.Random(6)
    forms = [" ".join("".join(rng.choices("aeioukst", k=7)) for _ in range(8)) for _ in range(100)]
    assert unseen_share(forms) > 0.9
    assert tokenizer_of(forms) == "wordpiece"
    assert unseen_share(facts(600)) < 0.2
    assert tokenizer_of(facts(600)) == "word"


@pytest.mark.parametrize("objective", ["causal_lm", "denoising", "span_corruption"])
def test_what_writes_gets_back_what_it_read(tmp_path: Path, objective: str) -> None:
    code = [f"def f{n}(x):\n    if x > {n}:\n\t\treturn A{n}" for n in range(120)]
    for text, kind in ((code, "character"), (code * 60, "bpe")):
        file = tiny_recipe.text_file(tmp_path, text, f"{kind}.txt")
        recipe, said = chosen_for(file, f"objective.name={objective}")
        assert recipe.tokenizer.kind == kind
        assert "does not give back" not in said
    recipe, said = chosen_for(file, f"objective.name={objective}", "tokenizer.kind=wordpiece")
    assert "this wordpiece tokenizer does not give back line ends, indents" in said
    _, said = chosen_for(file, "tokenizer.kind=wordpiece")
    assert "does not give back" not in said


def test_characters_written_apart_are_given_back_in_bytes() -> None:
    apart = [unicodedata.normalize("NFD", "Tiếng Việt rất hay và đẹp")] * 40
    assert tokenizer_of(apart, writes=True) == "bpe"
    assert tokenizer_of([unicodedata.normalize("NFC", text) for text in apart], writes=True) == "character"


def test_a_tokenizer_that_is_named_is_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    Tokenizer.train(facts(300), TokenizerConfig(kind="bpe", vocab_size=300)).save(file)
    recipe, said = chosen_for(tiny_recipe.text_file(tmp_path, facts(300)), f"tokenizer.path={file}")
    assert (recipe.tokenizer.kind, recipe.tokenizer.vocab_size, recipe.tokenizer.lowercase) == ("bpe", 300, False)
    assert recipe.tokenizer.path == str(file)
    assert "bpe tokenizer, at most 300 tokens" in said
    assert "word tokenizer" not in said
    with pytest.raises(UsageError, match="there is no tokenizer at"):
        chosen_for(tiny_recipe.text_file(tmp_path, facts(300)), "tokenizer.path=absent.json")


def test_a_labelled_file_is_taken_for_its_task_and_that_is_said(tmp_path, monkeypatch):
    """Unless another task is named: then the texts alone are learned."""
    monkeypatch.setenv("GLASSFORMER_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "reviews.tsv"
    rows = [f"the film number {n} was really rather {word}\t{word}" for n, word in enumerate(["good", "bad"] * 60)]
    file.write_text("\n".join(["sentence\tlabel", *rows]) + "\n", encoding="utf-8")
    said: list[str] = []
    recipe = recipe_for_text(str(file), {}, said.append)
    assert recipe.objective.name == "classification" and recipe.objective.too_long == "cut"
    assert any("taken for classification (say otherwise with objective.name" in line for line in said)
    said.clear()
    recipe = recipe_for_text(str(file), {"objective": {"name": "masked_lm"}}, said.append)
    assert recipe.objective.name == "masked_lm" and not any("taken for" in line for line in said)
