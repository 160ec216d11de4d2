"""From texts with questions to `answer`: windows, places in characters, what is learned, what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_recipe
from trained import command

from glassformer.ask import evaluation
from glassformer.ask.answer import best_in
from glassformer.ask.run import Run, load
from glassformer.assemble import assemble
from glassformer.data.batch import IGNORE_INDEX
from glassformer.data.builtin import questions
from glassformer.data.codecs import Codecs
from glassformer.data.corpus import Corpus
from glassformer.data.span_columns import SpanColumn, Spans
from glassformer.data.spans import Annotated, Span
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
from glassformer.errors import UsageError
from glassformer.objectives.span_extraction import END, START, SpanExtraction
from glassformer.recipe import parse
from glassformer.training.trainer import Trainer

SCRIPTS = {
    "latin": ("Anna wohnt in der schönen Straße am Fluß.", "schönen Straße"),
    "cyrillic": ("Анна живёт в большом городе у реки.", "большом городе"),
    "greek": ("Η Άννα ζει στην παλιά Αθήνα.", "παλιά Αθήνα"),
    "arabic": ("تسكن آنا في مدينة كبيرة.", "مدينة كبيرة"),
    "hebrew": ("אנה גרה בעיר גדולה ליד הנהר.", "בעיר גדולה"),
    "devanagari": ("अन्ना एक बड़े शहर में रहती है।", "बड़े शहर"),
    "thai": ("แอนนาอาศัยอยู่ในเมืองใหญ่", "เมืองใหญ่"),
    "chinese": ("安娜住在北京的老城区。", "北京"),
    "japanese": ("アンナは大きな町に住んでいます。", "大きな町"),
    "korean": ("안나는 큰 도시에 산다.", "큰 도시"),
}


def asked_file(folder: Path, rows, name: str = "asked.jsonl") -> Path:
    """Of (text, question, answer or None) with the answer where it first stands."""
    file = folder / name
    lines = [
        {"context": text, "question": question, "answers": [] if answer is None else [_at(text, answer)]}
        for text, question, answer in rows
    ]
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return file


def _at(text: str, answer: str) -> dict:
    return {"text": answer, "answer_start": text.index(answer)}


def recipe_for(file: Path, **sections):
    tree = tiny_recipe.tree(file, **sections)
    tree["data"] = {"train": str(file)} | sections.get("data", {})
    tree["objective"] = {"name": "span_extraction"} | sections.get("objective", {})
    return parse(tree)


def objective_of(texts, length: int, kind: str = "word", **config) -> SpanExtraction:
    tokenizer = Tokenizer.train(texts, TokenizerConfig(kind=kind, vocab_size=400, lowercase=False))
    return SpanExtraction.from_codecs(SpanExtraction.Config(**config), Codecs(tokenizer), length)


def corpus_of(objective: SpanExtraction, rows) -> Corpus:
    """Of (text, question, answers)."""
    annotated = [Annotated(text, tuple(Span(*place) for place in places)) for text, _, places in rows]
    return Corpus.from_texts([text for text, _, _ in rows], objective.tokenizer).with_beside(
        {
            "second": Corpus.from_texts([question for _, question, _ in rows], objective.tokenizer),
            "spans": SpanColumn.of(annotated, Spans(objective.tokenizer)),
        }
    )


def examples_of(objective: SpanExtraction, rows):
    dataset = objective.dataset(corpus_of(objective, rows))
    return dataset, [dataset.example(n, np.random.default_rng(0)) for n in range(len(dataset))]


WORDS = [f"w{n}" for n in range(40)]
LONG = " ".join(WORDS)


def place_of(text: str, first: str, last: str) -> tuple[int, int]:
    words = text.split()
    starts = np.cumsum([0, *(len(word) + 1 for word in words)])
    return int(starts[words.index(first)]), int(starts[words.index(last)]) + len(last)


def test_a_row_reads_question_and_text_and_is_asked_for_both_ends():
    text = "the sun and mars is red"
    objective = objective_of([text, "what ?"], 20)
    _, [example] = examples_of(objective, [(text, "what ?", [(8, 16)])])
    names = objective.names_in("encoder", example.streams["encoder"])
    assert names == ["[CLS]", "what", "?", "[SEP]", "the", "sun", "and", "mars", "is", "red", "[SEP]"]
    assert example.streams["encoder"].segment_ids.tolist() == [0] * 4 + [1] * 7
    asked = [names[int(example.targets[head].values[0])] for head in (START, END)]
    assert asked == ["and", "mars"]


@pytest.mark.parametrize("stride", [1, 4, 64])
@pytest.mark.parametrize("length", [16, 23, 80])
def test_windows_read_every_token_and_each_answer_whole_where_it_stands_whole(length, stride):
    """Every answer of at most half a window is asked in one window at least, with its own tokens; a window that has it
    not, or not whole, is asked for [CLS]."""
    objective = objective_of([LONG, "who ?"], length, stride=stride)
    room = length - 3 - 2
    for first in range(40):
        last = min(39, first + room // 2 - 1)
        place = place_of(LONG, WORDS[first], WORDS[last])
        dataset, examples = examples_of(objective, [(LONG, "who ?", [place])])
        assert sorted({token for _, a, b in dataset.units.tolist() for token in range(a, b)}) == list(range(40))
        found = 0
        for (_, begin, end), example in zip(dataset.units.tolist(), examples, strict=True):
            assert len(example.streams["encoder"].values) <= length
            start, stop = (int(example.targets[head].values[0]) for head in (START, END))
            if begin <= first and last < end:
                names = objective.names_in("encoder", example.streams["encoder"])
                assert names[start : stop + 1] == WORDS[first : last + 1]
                found += 1
            else:
                assert start == stop == 0
        assert found


def test_of_several_answers_the_first_that_is_whole_is_asked():
    objective = objective_of([LONG, "who ?"], 16)
    places = [place_of(LONG, "w1", "w2"), place_of(LONG, "w20", "w21"), place_of(LONG, "w21", "w21")]
    dataset, examples = examples_of(objective, [(LONG, "who ?", places)])
    for (_, begin, end), example in zip(dataset.units.tolist(), examples, strict=True):
        whole = [first for first, last in ((1, 2), (20, 21), (21, 21)) if begin <= first and last < end]
        expected = [f"w{whole[0]}"] if whole else ["[CLS]"]
        names = objective.names_in("encoder", example.streams["encoder"])
        assert [names[int(example.targets[START].values[0])]] == expected


def test_a_question_without_an_answer_is_asked_for_cls():
    objective = objective_of([LONG, "who ?"], 60)
    _, [example] = examples_of(objective, [(LONG, "who ?", [])])
    assert [int(example.targets[head].values[0]) for head in (START, END)] == [0, 0]


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("kind", ["word", "wordpiece", "bpe", "unigram", "character", "byte"])
def test_answers_come_back_in_the_characters_of_the_text(script, kind):
    """From characters to tokens, through windows, and back: the answer, or where pieces are larger, what holds it."""
    text, answer = SCRIPTS[script]
    text = f"{text} {text}  \n {text}"
    objective = objective_of([text, "?"] * 3, 40 if kind != "byte" else 90, kind, stride=7)
    begin = text.rindex(answer)
    dataset, examples = examples_of(objective, [(text, "?", [(begin, begin + len(answer))])])
    windows = objective.windows("?", text)
    assert [(window.first, window.first + window.number) for window in windows] == list(
        map(tuple, dataset.units[:, 1:].tolist())
    )
    said = []
    for window, example in zip(windows, examples, strict=True):
        ids = example.streams["encoder"].values
        assert np.array_equal(window.prompt.example.streams["encoder"].values, ids)
        start, end = np.zeros(len(ids) + 2), np.zeros(len(ids) + 2)
        targets = [int(example.targets[head].values[0]) for head in (START, END)]
        start[targets[0]] = end[targets[1]] = 9.0
        said.append((start, end))
    [found] = best_in(objective.tokenizer, text, list(zip(windows, said, strict=True)), 80)
    assert found.text == text[found.start : found.end] == found.text.strip()
    assert found.start <= begin and begin + len(answer) <= found.end
    if kind in ("character", "byte"):
        assert (found.start, found.end) == (begin, begin + len(answer))


def test_the_best_pair_is_the_best_of_all():
    """Against a search through all pairs, windows that overlap included."""
    objective = objective_of([LONG, "who ?"], 20, stride=5)
    windows = objective.windows("who ?", LONG)
    rng = np.random.default_rng(1)
    said = [tuple(rng.normal(size=(2, 20))) for _ in windows]

    scored: dict[tuple[str, str], float] = {}
    for window, (start, end) in zip(windows, said, strict=True):
        for a in range(window.number):
            for b in range(a, min(a + 3, window.number)):
                name = (WORDS[window.first + a], WORDS[window.first + b])
                value = float(start[window.place + a] + end[window.place + b])
                scored[name] = max(value, scored.get(name, -np.inf))
    best = sorted(scored, key=lambda name: -scored[name])[:4]
    found = best_in(objective.tokenizer, LONG, list(zip(windows, said, strict=True)), 3, top=4)
    assert [(one.text.split()[0], one.text.split()[-1]) for one in found] == best
    assert [one.score for one in found] == pytest.approx([scored[name] for name in best])
    assert all(LONG[one.start : one.end] == one.text for one in found)


# ---------------------------------------------------------------------------------------------------- trained


def small_rows(shuffled: bool = False):
    rows = [(one.text, one.question, one.answer) for one in questions("builtin:questions/train")[:90]]
    if not shuffled:
        return rows
    rng = np.random.default_rng(1)
    return [(text, question, str(rng.choice(text.split()))) for text, question, _ in rows]


SIZES = {
    "optimizer": {"learning_rate": 0.01},
    "training": {"steps": 150, "evaluate_every": 150},
    "model": {"max_length": 48, "d_model": 32, "n_heads": 4, "d_ff": 64, "dropout": 0.0},
    "batch": {"size": 16},
    "tokenizer": {"kind": "word", "vocab_size": 300, "lowercase": False},
}


def train(folder: Path, rows, **changed) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSFORMER_CACHE", str(folder / "cache"))
        file = asked_file(folder, rows)
        sections = {**SIZES, "data": {"validation": str(file)}, **changed}
        return tiny_recipe.train(recipe_for(file, **sections), folder / "run")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """Ninety built-in questions, learned by heart."""
    return train(tmp_path_factory.mktemp("asked"), small_rows())


def test_it_learns_by_heart_and_the_scores_are_those_of_its_answers(run):
    found = run.evaluate("train")
    scores = {name: score["value"] for name, score in found["scores"].items()}
    assert scores["exact_match"] > 0.8 and scores["f1"] >= scores["exact_match"]
    said, right = (
        [run.answer(question, text).answer for text, question, _ in small_rows()],
        [answer for _, _, answer in small_rows()],
    )
    assert scores["exact_match"] == pytest.approx(np.mean([a == b for a, b in zip(said, right, strict=True)]))
    assert [line["baseline"] for line in found["baselines"]] == ["no_answer", "best_sentence", "sliding_window"]
    assert json.dumps(found)


def test_shuffled_answers_are_not_found_in_other_texts(tmp_path, run):
    """What is learned is the question's answer: a model of random words does not find those of the others."""
    other = train(tmp_path, small_rows(shuffled=True))
    file = asked_file(tmp_path, small_rows(), "true.jsonl")
    found = other.with_data([f"data.validation={file}"]).evaluate("validation", baselines=False)
    assert found["scores"]["exact_match"]["value"] < 0.3


def test_the_threshold_is_fitted_and_kept(run):
    calibration = run.directory.calibration()
    assert calibration is not None and calibration.no_answer_threshold == load(run.path).no_answer_threshold
    assert evaluation.calibrate(run) == pytest.approx(calibration.no_answer_threshold)
    unanswered = [(text, question) for text, question, answer in small_rows() if answer is None]
    assert np.mean([run.answer(question, text).answer is None for text, question in unanswered]) > 0.6


def test_of_several_texts_the_best_answer_is_taken_and_named(run):
    (text, question, answer), (other, *_) = small_rows()[0], small_rows()[30]
    found = run.answer(question, {"one.txt": other, "two.txt": text}, top=3)
    assert len(found.candidates) == 3 and found.candidates[0].context in ("one.txt", "two.txt")
    for one in found.candidates:
        assert {"one.txt": other, "two.txt": text}[one.context][one.start : one.end] == one.text
        assert 0 < one.probability <= 1
    scores = [one.score for one in found.candidates]
    assert scores == sorted(scores, reverse=True)
    assert run.answer(question, text).answer == answer


def test_a_long_text_is_read_in_windows(run):
    text = " ".join(one.text for one in questions("builtin:questions/train")[:30:3])
    found = run.answer("where does Anna live ?", text, top=2)
    assert all(text[one.start : one.end] == one.text for one in found.candidates)


def test_the_command_answers_and_prints_json(run, tmp_path):
    text, question, answer = small_rows()[0]
    said = command("answer", str(run.path), f"{question} ||| {text}")
    assert said.code == 0 and said.out.splitlines()[:2] == [question, f"  {answer}"]
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "b.txt").write_text(small_rows()[30][0])
    both = ("--context", tmp_path / "a.txt", "--context", tmp_path / "b.txt")
    record = command("answer", str(run.path), question, *both, "--top", "2", "--json").json
    assert set(record) == {"question", "answer", "candidates", "no_answer_score", "threshold"}
    assert len(record["candidates"]) == 2
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"question": q, "context": t}) + "\n" for t, q, _ in small_rows()[:3]))
    lines = command("answer", str(run.path), "--file", rows, "--json").out.splitlines()
    assert [json.loads(line)["question"] for line in lines] == [q for _, q, _ in small_rows()[:3]]


def test_what_cannot_be_answered_is_refused_in_one_line(run, tmp_path):
    for arguments, what in (
        (("who ?",), "no text to look for the answer in"),
        (("who ?", "--context", str(tmp_path / "none.txt")), "there is no file"),
        (("who ? |||  ",), "text is empty"),
        ((" ".join(["who"] * 60) + " ||| Anna",), "the question has 60 tokens"),
    ):
        said = command("answer", str(run.path), *arguments)
        assert said.code == 2 and what in said.err and len(said.err.strip().splitlines()) <= 2, said
    (tmp_path / "rows.jsonl").write_text('{"context": "no question"}\n')
    said = command("answer", str(run.path), "--file", str(tmp_path / "rows.jsonl"))
    assert said.code == 2 and "line 1 is no row with a question" in said.err


def test_other_models_refuse_to_answer(run):
    with pytest.raises(UsageError, match="predicts no labels") as error:
        run.classify("a text")
    assert "glassformer answer" in error.value.mend


def test_a_question_that_leaves_no_room_is_refused_with_its_row(tmp_path):
    rows = [*small_rows()[:20], ("a text", " ".join(["why"] * 50), None)]
    with pytest.raises(UsageError, match=r"question \d+ has 50 tokens, and the model reads at most 44"):
        parts = assemble(recipe_for(asked_file(tmp_path, rows), **SIZES))
        _ = parts.train_dataset, parts.validation_dataset


def test_a_prompt_must_be_a_question_and_a_text():
    objective = objective_of([LONG, "who ?"], 16)
    prompt = objective.prompt("who ? ||| w1 w2")
    assert all((targets.values == IGNORE_INDEX).all() for targets in prompt.example.targets.values())
    with pytest.raises(UsageError, match="is not a question and a text"):
        objective.prompt("w1 w2")
    with pytest.raises(UsageError, match="at most 13 at a time"):
        objective.prompt(f"who ? ||| {LONG}")


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_stopped_and_resumed_it_is_the_same_run(tmp_path, monkeypatch, layout):
    """Bit for bit: weights, optimiser, metrics. Packed rows too."""
    monkeypatch.setenv("GLASSFORMER_CACHE", str(tmp_path / "cache"))
    file = asked_file(tmp_path, small_rows())
    short = {"steps": 12, "evaluate_every": 4, "checkpoint_every": 3}
    recipe = recipe_for(file, **{**SIZES, "training": short, "batch": {"size": 4, "layout": layout}})
    tiny_recipe.train(recipe, tmp_path / "whole")
    advance = Trainer._advance

    def until(self: Trainer, epoch: int, rows: list) -> None:
        if self.state.step == 7:
            raise KeyboardInterrupt
        advance(self, epoch, rows)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "_advance", until)
        tiny_recipe.train(recipe, tmp_path / "cut")
    tiny_recipe.train(None, tmp_path / "cut", resume=True)
    tiny_recipe.assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_an_evaluation_is_said_in_words(run):
    said = command("evaluate", str(run.path), "--split", "train")
    assert said.code == 0, said.err
    for words in ("exact match", "f1 with answer", "accuracy without answer", "best sentence", "sliding window"):
        assert words in said.out
