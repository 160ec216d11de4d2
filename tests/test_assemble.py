"""From a recipe to its parts: nothing is done twice, and what is too small is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_recipe import WORDS, recipe, sentences, text_file

from glassformer.assemble import assemble, model_for, objective_for
from glassformer.data import corpus as corpus_module
from glassformer.data import rows as rows_module
from glassformer.data.codecs import Codecs
from glassformer.data.tokenizer import Tokenizer, TokenizerConfig
from glassformer.errors import UsageError
from glassformer.recipe import Recipe
from glassformer.recipe_columns import column_for
from glassformer.recipe_rows import documents_for, with_layout


def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Counts what is expensive: trained tokenizers, passes that write stores, tokenised batches, read texts."""
    calls = {"train": 0, "write_stores": 0, "encode_together": 0, "read_documents": 0}

    def count(owner: Any, name: str) -> None:
        real = getattr(owner, name)
        function = getattr(real, "__func__", real)

        def counting(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, name, classmethod(counting) if hasattr(real, "__func__") else counting)

    count(Tokenizer, "train")
    count(corpus_module, "write_stores")
    count(Tokenizer, "encode_together")
    count(rows_module, "read_documents")
    return calls


def test_the_second_start_does_nothing_twice(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first trains a tokenizer and tokenises both parts in one pass; the second trains, tokenises and reads
    nothing, and comes to the same."""
    calls = counted(monkeypatch)
    said: list[str] = []
    first = assemble(recipe(text), said.append)
    assert (calls["train"], calls["write_stores"]) == (1, 1)
    assert min(calls.values()) > 0
    assert said == ["training a word tokenizer"] + [
        f"reading and tokenising the {p} texts" for p in ("train", "validation")
    ]
    calls.update(dict.fromkeys(calls, 0))
    said.clear()
    second = assemble(recipe(text), said.append)
    assert set(calls.values()) == {0}
    assert said == []
    assert second.tokenizer.identity == first.tokenizer.identity
    assert second.train.tokens.tolist() == first.train.tokens.tolist()
    assert second.validation.tokens.tolist() == first.validation.tokens.tolist()


@pytest.mark.parametrize(
    ("sections", "train", "passes"),
    [
        ({"model": {"d_model": 24}, "batch": {"size": 2}, "training": {"steps": 3}}, 0, 0),
        ({"objective": {"mask_rate": 0.5}}, 0, 0),
        ({"tokenizer": {"vocab_size": 12}}, 1, 1),
        ({"data": {"validation_share": 0.4}}, 1, 1),
    ],
    ids=["model", "objective", "tokenizer", "split"],
)
def test_only_what_is_concerned_is_done_again(
    text: Path, monkeypatch: pytest.MonkeyPatch, sections: dict[str, Any], train: int, passes: int
) -> None:
    """Another model uses the same tokens; another tokenizer or split does not."""
    assemble(recipe(text))
    calls = counted(monkeypatch)
    assemble(recipe(text, **sections))
    assert (calls["train"], calls["write_stores"]) == (train, passes)


def test_a_changed_text_is_noticed(text: Path) -> None:
    """One other word, same length: no old tokens."""
    before = assemble(recipe(text))
    text.write_text(text.read_text().replace("moon", "star"))
    after = assemble(recipe(text))
    assert before.train.tokens.tolist() != after.train.tokens.tolist()


@pytest.mark.parametrize("units", ["documents", "stream"])
def test_a_text_too_short_for_one_batch_is_refused(tmp_path: Path, units: str) -> None:
    """With its size, the batch's, and a batch size that would do; which then does."""
    text = text_file(tmp_path, sentences(6))
    wanted: dict[str, dict[str, Any]] = {"objective": {"units": units}, "model": {"max_length": 12}}
    with pytest.raises(UsageError, match="too short for one batch") as raised:
        assemble(recipe(text, batch={"size": 50}, **wanted))
    assert "batch.size=50" in raised.value.what
    assert "batch.size=" in raised.value.mend
    fitting = int(raised.value.mend.split("batch.size=")[1].split()[0])
    assert len(assemble(recipe(text, batch={"size": fitting}, **wanted)).train_dataset) == fitting


def test_a_token_budget_and_packing_need_no_full_batch(tmp_path: Path) -> None:
    """There the number of rows follows from the text."""
    text = text_file(tmp_path, sentences(6))
    with pytest.raises(UsageError, match="too short for one batch"):
        assemble(recipe(text, batch={"size": 50}))
    for batch in ({"size": 50, "tokens": 100}, {"size": 50, "layout": "packed"}):
        assert 0 < len(assemble(recipe(text, batch=batch)).train_dataset) < 50


def test_the_split_is_disjoint_and_reproducible(text: Path) -> None:
    """Every text is in exactly one part, the same one every time; another seed splits otherwise."""

    def parts(wanted: Recipe) -> tuple[list[str], list[str]]:
        return list(documents_for(wanted, "train")), list(documents_for(wanted, "validation"))

    numbered = text_file(text.parent, [f"w{n} x" for n in range(40)])
    train, validation = parts(recipe(numbered))
    assert len(validation) == 8
    assert not set(train) & set(validation)
    assert sorted(train + validation) == sorted(f"w{n} x" for n in range(40))
    assert parts(recipe(numbered)) == (train, validation)
    other = recipe(numbered).model_copy(update={"seed": 2})
    assert set(parts(other)[1]) != set(validation)


def test_the_tokenizer_sees_no_validation_text(text: Path) -> None:
    """A word that occurs only there is unknown, else the held-out loss would flatter."""
    numbered = text_file(text.parent, [f"w{n} x" for n in range(40)])
    parts = assemble(recipe(numbered))
    held_out = list(documents_for(recipe(numbered), "validation"))
    assert all(parts.tokenizer.id(document.split()[0]) is None for document in held_out)
    assert parts.validation.n_unknown == len(held_out)


def test_a_validation_source_of_its_own(text: Path) -> None:
    """Then nothing is held out of the training text."""
    other = text_file(text.parent, sentences(9, seed=5), "validation.txt")
    wanted = recipe(text, data={"validation": str(other)})
    assert list(documents_for(wanted, "train")) == sentences()
    assert list(documents_for(wanted, "validation")) == sentences(9, seed=5)


def test_test_data_must_be_named(text: Path) -> None:
    """Missing, it is said; given, it is read."""
    with pytest.raises(UsageError, match=r"names no test data") as raised:
        list(documents_for(recipe(text), "test"))
    assert "data.test=FILE" in raised.value.mend
    parts = assemble(recipe(text))
    with pytest.raises(UsageError, match=r"names no test data"):
        column_for(recipe(text), parts.codecs, "test")
    other = text_file(text.parent, sentences(9, seed=5), "test.txt")
    wanted = recipe(text, data={"test": str(other)})
    assert column_for(wanted, parts.codecs, "test").n_documents == 9
    with_validation = recipe(text, data={"validation": str(other)})
    tokenizers = assemble(with_validation).codecs  # now the training part is in the cache
    with pytest.raises(UsageError, match=r"names no test data"):
        column_for(with_validation, tokenizers, "test")


@pytest.mark.parametrize("kind", ["transformer", "pytorch"])
def test_fresh_weights_are_a_function_of_the_seed(text: Path, kind: str) -> None:
    """The same to the bit whatever was drawn before, others for another seed; torch's own generator is left alone."""
    wanted = recipe(text, model={"kind": kind, "attention_dropout": 0.1})
    objective = assemble(wanted).objective
    torch.manual_seed(3)
    expected = torch.rand(5)
    torch.manual_seed(3)
    one = model_for(wanted, objective).state_dict()
    assert torch.equal(torch.rand(5), expected)
    two = model_for(wanted, objective).state_dict()
    three = model_for(wanted.model_copy(update={"seed": 2}), objective).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], three[name]) for name in one)


def test_held_out_texts_that_will_not_do_are_named(tmp_path: Path) -> None:
    """Enough to learn from, too little held out: that part is blamed, and what is said then helps."""
    file = tmp_path / "stories.txt"
    file.write_text("\n\n".join(f"The {a} sat. It saw {b}. It left." for a in WORDS for b in WORDS[:2]))
    wanted: dict[str, dict[str, Any]] = {"objective": {"name": "next_sentence"}, "batch": {"size": 2}}
    few = {"document": "blank_line", "validation_share": 0.01}
    parts = assemble(recipe(file, data=few, **wanted))
    assert parts.validation.n_documents == 1 and len(parts.train_dataset) > 9
    with pytest.raises(UsageError, match=r"the validation texts will not do: .* there is none") as raised:
        len(parts.validation_dataset)
    assert "data.validation_share" in raised.value.mend and "data.validation" in raised.value.mend
    assert len(assemble(recipe(file, data=few | {"validation_share": 0.1}, **wanted)).validation_dataset) == 3


@pytest.mark.parametrize("document", ["file", "line", "blank_line", "auto", None])
def test_of_a_single_text_the_end_is_held_out(tmp_path: Path, document: str | None) -> None:
    """Whatever makes it a single one; where a word begins; nothing is lost and nothing comes twice."""
    words = " ".join(sentences(60))
    file = tmp_path / "one.txt"
    file.write_text(words, encoding="utf-8")
    how = {"document_start": "^" + words[:9], "document": "auto"} if document is None else {"document": document}
    wanted = recipe(file, data=how | {"validation_share": 0.1}, objective={"units": "stream"})
    (train,), (validation,) = (documents_for(wanted, part) for part in ("train", "validation"))
    assert train + validation == words and abs(len(train) - 0.9 * len(words)) < 6
    assert train.endswith(" ") and validation.split(" ")[0] in WORDS
    assert assemble(wanted).validation.n_documents == 1


def test_training_and_validation_are_cut_alike(tmp_path: Path) -> None:
    """The training text decides: a validation text of few paragraphs is cut into paragraphs too, and one of many into
    lines. It is said, recorded in the recipe, and not said again where the recipe says it."""
    train, validation = tmp_path / "train.txt", tmp_path / "valid.txt"
    paragraph = "one red sun and\nthe old star"
    for n_train, n_validation, document in ((40, 7, "blank_line"), (7, 40, "line")):
        train.write_text("\n\n".join(f"{paragraph} {n}" for n in range(n_train)), encoding="utf-8")
        validation.write_text("\n\n".join(f"{paragraph} {n}" for n in range(n_validation)), encoding="utf-8")
        wanted = recipe(train, data={"document": "auto", "validation": str(validation)})
        lines = 1 if document == "blank_line" else 2
        assert len(list(documents_for(wanted, "train"))) == n_train * lines
        assert len(list(documents_for(wanted, "validation"))) == n_validation * lines
        said: list[str] = []
        parts = assemble(wanted, said.append)
        assert parts.recipe.data.document == document
        assert "train.txt: a text is a " in said[0] and "say otherwise with data.document=" in said[0]
        again: list[str] = []
        assert assemble(parts.recipe, again.append).validation.n_documents == parts.validation.n_documents
        assert again == []


def test_test_texts_are_read_as_training_was_though_that_is_gone(tmp_path: Path) -> None:
    """The recipe of a run says how: the training text is not looked into again."""
    train, other = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text("a,b\n" + "".join(f"{n},{text}\n" for n, text in enumerate(sentences(40))), encoding="utf-8")
    other.write_text("b,a\none two three,four five six\n", encoding="utf-8")
    resolved = with_layout(recipe(train, data={"document": "auto", "test": str(other)}))
    assert (resolved.data.column, resolved.data.header, resolved.data.delimiter) == ("b", True, ",")
    train.unlink()
    assert list(documents_for(resolved, "test")) == ["one two three"]


def test_a_tokenizer_for_targets_is_for_pairs_only(text: Path) -> None:
    """Also where another member of a mixture learns from pairs: the decoder would take one side's tokens for the
    other's."""
    pairs = {"objective": {"name": "seq2seq"}, "data": {"train": "pairs.tsv"}}
    mixed = {"name": "mixture", "members": [pairs, {"objective": {"name": "denoising"}}]}
    tokenizer = Tokenizer.train(sentences(), TokenizerConfig(kind="word", vocab_size=50))
    for objective in (mixed, {"name": "denoising"}, {"name": "masked_lm"}):
        wanted = recipe(text, objective=objective, target_tokenizer={"kind": "word", "vocab_size": 50})
        with pytest.raises(UsageError, match=r"for the targets of pairs, and (denoising|masked_lm) learns from single"):
            objective_for(wanted, Codecs(tokenizer, tokenizer))
