"""From words with tags to `tag`: what is asked, what is cut, what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_recipe
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2
from trained import command

from glassformer.ask.run import Run
from glassformer.assemble import assemble
from glassformer.data.batch import IGNORE_INDEX
from glassformer.data.builtin import tagged_sentences
from glassformer.data.codecs import Codecs
from glassformer.data.corpus import Corpus
from glassformer.data.labels import Labels
from glassformer.data.span_columns import SpanColumn, Spans
from glassformer.data.spans import Annotated
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
from glassformer.errors import UsageError
from glassformer.objectives.tagging import Tagging
from glassformer.recipe import parse
from glassformer.training.evaluation import evaluate


def conll(folder: Path, sentences, name: str = "train.conll", between: str = "\n") -> Path:
    file = folder / name
    blocks = ("\n".join(f"{word}\t{tag}" for word, tag in zip(*one, strict=True)) for one in sentences)
    file.write_text(f"\n{between}".join(blocks) + "\n", encoding="utf-8")
    return file


def recipe_for(file: Path, **sections):
    tree = tiny_recipe.tree(file, **sections)
    tree["data"] = {"train": str(file)} | sections.get("data", {})
    tree["objective"] = {"name": "tagging"} | sections.get("objective", {})
    return parse(tree)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """60 steps on the built-in names: enough to find some of them."""
    folder = tmp_path_factory.mktemp("tagged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSFORMER_CACHE", str(folder / "cache"))
        file = conll(folder, tagged_sentences("builtin:names/train"))
        changed = {
            "optimizer": {"learning_rate": 0.01},
            "training": {"steps": 60, "evaluate_every": 30},
            "model": {"max_length": 24},
            "batch": {"size": 32},
        }
        return tiny_recipe.train(recipe_for(file, **changed), folder / "run")


@pytest.fixture(scope="module")
def objective() -> Tagging:
    texts = ["mars is red and phobos is near", "a b c d e f g h"]
    tokenizer = Tokenizer.train(texts, TokenizerConfig(kind="character", vocab_size=64))
    return Tagging.from_codecs(Tagging.Config(), Codecs(tokenizer, label=Labels(("O", "X", "Y"))), 14)


def corpus_of(objective: Tagging, sentences: list[tuple[str, str]]) -> Corpus:
    rows = [Annotated.of_words(words.split(), tags.split()) for words, tags in sentences]
    texts = Corpus.from_texts([row.text for row in rows], objective.tokenizer, keep_empty=True)
    return texts.with_beside({"tags": SpanColumn.of(rows, Spans(objective.tokenizer, objective.labels))})


LONG = "mars is red and phobos is near", "X O Y O X O Y"


@pytest.mark.parametrize("read", ["first", "mean"])
def test_every_word_of_every_sentence_is_asked_once_with_its_tag(objective, read):
    """Also where a sentence is cut; what is read is the word itself."""
    own = Tagging.from_codecs(Tagging.Config(read=read), Codecs(objective.tokenizer, label=objective.labels), 14)
    sentences = [LONG, ("a b", "Y X"), ("phobos phobos", "X X")]
    dataset = own.dataset(corpus_of(own, sentences))
    found: dict[int, list[tuple[str, str]]] = {}
    for index, (row, _, _) in enumerate(dataset.units.tolist()):
        example = dataset.example(index, np.random.default_rng(0))
        ids, asked = example.streams["encoder"].values, example.targets["tag"]
        assert len(ids) <= 14 and dataset.lengths[index] == len(ids)
        ends = [*asked.positions[1:], len(ids) - 1] if asked.ends is None else asked.ends
        for begin, end, tag in zip(asked.positions, ends, asked.values, strict=True):
            word = own.tokenizer.decode(ids[begin:end]).replace("▁", " ").strip()
            found.setdefault(row, []).append((word, own.label_names[tag]))
    assert len(dataset) > len(sentences)  # the long one was cut
    for row, (words, tags) in enumerate(sentences):
        assert found[row] == list(zip(words.split(), tags.split(), strict=True))


def test_parts_of_a_long_sentence_are_of_nearly_equal_length(objective):
    dataset = objective.dataset(corpus_of(objective, [LONG]))
    assert (dataset.lengths <= 14).all() and dataset.lengths.min() * 2 > dataset.lengths.max()


def test_a_word_that_alone_is_too_long_is_read_from_its_beginning(objective):
    dataset = objective.dataset(corpus_of(objective, [("abcdefghabcdefgh a", "X Y")]))
    examples = [dataset.example(n, np.random.default_rng(0)) for n in range(len(dataset))]
    assert [example.targets["tag"].values.tolist() for example in examples] == [[1], [2]]
    assert max(len(example.streams["encoder"].values) for example in examples) == 14


def test_a_prompt_is_what_training_makes_of_the_same_words(objective):
    [(prompt, words)] = objective.tagged_prompts(["a", "b", "c"])
    example = objective.dataset(corpus_of(objective, [("a b c", "X Y O")])).example(0, np.random.default_rng(0))
    assert np.array_equal(prompt.example.streams["encoder"].values, example.streams["encoder"].values)
    assert np.array_equal(prompt.example.targets["tag"].positions, example.targets["tag"].positions)
    assert (prompt.example.targets["tag"].values == IGNORE_INDEX).all() and words == [0, 1, 2]
    with pytest.raises(UsageError, match="no word"):
        objective.tagged_prompts([])


def test_the_schemes_of_files_are_read_as_one(tmp_path):
    """IOB1, IOB2 and BIOES of the same names make the same training data, which says so."""
    sentences = {
        "iob1": "I-PER I-PER O I-LOC B-LOC O",
        "iob2": "B-PER I-PER O B-LOC B-LOC O",
        "bioes": "B-PER E-PER O S-LOC S-LOC O",
    }
    words = ["Anna", "Weber", "saw", "Oslo", "Bergen", "today"]
    found = {}
    for scheme, tags in sentences.items():
        rows = [([*words[:-1], f"day{n}"], tags.split()) for n in range(40)]
        said: list[str] = []
        parts = assemble(recipe_for(conll(tmp_path, rows, f"{scheme}.conll"), batch={"size": 4}), said.append)
        assert parts.recipe.data.tag_scheme == scheme
        assert any(f"names in {scheme.upper()}" in line for line in said)
        found[scheme] = parts.train.beside["tags"].identity, parts.codecs.label.names
    assert len(set(found.values())) == 1


def test_a_fault_in_iob2_is_said_and_mended(tmp_path):
    rows = [(["Anna", "saw", f"Oslo{n}"], ["B-PER", "O", "B-LOC"]) for n in range(40)]
    rows.insert(5, (["in", "Oslo"], ["O", "I-LOC"]))
    said: list[str] = []
    parts = assemble(recipe_for(conll(tmp_path, rows), batch={"size": 4}), said.append)
    assert any("once among the first rows an I- goes on with nothing: read as B-" in line for line in said)
    assert "I-LOC" not in parts.codecs.label.names


def test_the_column_of_tags_can_be_chosen(tmp_path):
    file = tmp_path / "four.conll"
    rows = [f"Anna{n} NNP x B-PER\nsaw VBD y O\nOslo NNP z B-LOC\n" for n in range(40)]
    file.write_text("-DOCSTART- -X- - O\n\n" + "\n".join(rows), encoding="utf-8")
    last = assemble(recipe_for(file, batch={"size": 4}))
    first = assemble(recipe_for(file, batch={"size": 4}, data={"columns": {"tags": "1"}}))
    assert set(last.codecs.label.names) == {"B-PER", "O", "B-LOC"} and set(first.codecs.label.names) == {"NNP", "VBD"}
    assert first.recipe.data.tag_scheme == "none"
    with pytest.raises(UsageError, match="has no column 'upos'"):
        assemble(recipe_for(file, data={"columns": {"tags": "upos"}}))


def test_rows_of_json_with_lists_are_read_too(tmp_path):
    file = tmp_path / "rows.jsonl"
    lines = [{"tokens": ["Anna", "saw", f"day{n}"], "ner_tags": ["B-PER", "O", "O"]} for n in range(40)]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    parts = assemble(recipe_for(file, batch={"size": 4}))
    assert parts.codecs.label.names == ("B-PER", "O") and parts.train.beside["tags"].row(0).shape == (3, 3)
    lines[3]["ner_tags"] = ["O", "O"]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    with pytest.raises(UsageError, match=r"line 4: 3 words in 'tokens' and 2 tags in 'ner_tags'"):
        assemble(recipe_for(file, batch={"size": 4}))


def test_a_line_without_its_tag_is_refused_with_its_number(tmp_path):
    file = conll(tmp_path, [(["a", "b"], ["O", "B-X"])] * 40)
    file.write_text(file.read_text() + "\nalone\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"line 121 is broken: 1 cell, and the first row has 2"):
        assemble(recipe_for(file, batch={"size": 4}))


def test_an_unknown_tag_in_validation_is_refused_with_its_lines(tmp_path):
    train = conll(tmp_path, [(["a", f"b{n}"], ["O", "B-X"]) for n in range(40)])
    other = conll(tmp_path, [(["a", "b"], ["O", "B-Z"])] * 3, "other.conll")
    with pytest.raises(UsageError, match=r"other\.conll, lines 1 to 2: the label 'B-Z' does not occur"):
        assemble(recipe_for(train, data={"validation": str(other)}, batch={"size": 4}))


def test_it_learns_and_its_f1_is_that_of_seqeval(run):
    """On what it was trained on: a good part of the names is found whole, and the number is the library's."""
    questions = run.questions("validation")
    found = evaluate(run.model, questions)
    assert found.value("accuracy") > 0.8 and found.value("entity_f1") > 0.3
    kept = {" ".join(words): tags for words, tags in tagged_sentences("builtin:names/train")}
    texts = [run.tokenizer.decode(questions.dataset.texts.document(n)) for n in range(questions.dataset.texts.n_rows)]
    true = [kept[text] for text in texts]
    guessed = [[word.tag for word in tagged.words] for tagged in run.tag([text.split() for text in texts])]
    assert found.value("entity_f1") == pytest.approx(f1_score(true, guessed, mode="strict", scheme=IOB2))


def test_a_text_is_tagged_word_by_word_and_its_names_are_cut_out(run):
    text = "Anna lives in Berlin."
    tagged = run.tag(text)
    assert [word.word for word in tagged.words] == ["Anna", "lives", "in", "Berlin", "."]
    assert all(text[word.start : word.end] == word.word for word in tagged.words)
    assert all(0 < word.probability <= 1 and word.pieces for word in tagged.words)
    assert tagged.entities is not None
    assert all(text[one.start : one.end] == one.text for one in tagged.entities)
    split = run.tag([["Anna", "lives", "in", "Berlin", "."]])[0]
    assert [word[:3] for word in split.words] == [word[:3] for word in tagged.words]
    many = run.tag([text] * 70)
    assert len(many) == 70 and many[69].words[0].tag == tagged.words[0].tag


def test_a_long_text_is_read_in_parts(run):
    words = ["Anna", "lives", "in", "Berlin", "."] * 12
    tagged = run.tag([words])[0]
    assert len(tagged.words) == 60 and all(word.tag for word in tagged.words)


def test_the_command_prints_names_and_json(run):
    shown = command("tag", str(run.path), "Anna lives in Berlin .")
    assert shown.code == 0 and shown.out.startswith("Anna lives in Berlin .\n")
    record = command("tag", str(run.path), "Anna lives in Berlin .", "--words", "--json").json
    assert [word["word"] for word in record["words"]] == ["Anna", "lives", "in", "Berlin", "."] and "entities" in record


def test_other_models_refuse_to_tag_with_what_they_can_do(run, tmp_path):
    with pytest.raises(UsageError, match="predicts no labels") as error:
        run.classify("a text")
    assert "glassformer tag" in error.value.mend
