"""Recipes: what is wrong is named with the nearest right key, and what is right survives being written and read."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.changes import as_recorded, listed
from glassformer.cli.terminal import as_written
from glassformer.errors import GlassformerError, UsageError
from glassformer.model.config import ModelConfig
from glassformer.recipe import (
    Recipe,
    apply_changes,
    from_yaml,
    keys,
    parse,
    read,
    read_tree,
    refuse_two_lengths,
    shipped,
    to_yaml,
    value_of,
    with_changes,
    with_value,
)

BASE: dict[str, Any] = {"data": {"train": "my.txt"}}


def changed(*changes: str, tree: dict[str, Any] | None = None) -> Recipe:
    return parse(apply_changes(tree or BASE, changes))


def refusal(*changes: str, tree: dict[str, Any] | None = None) -> str:
    """What a person reads; every mistake in a recipe is a UsageError."""
    with pytest.raises(UsageError) as raised:
        changed(*changes, tree=tree)
    return str(raised.value)


# ------------------------------------------------------------------------------------------------ wrong keys


@pytest.mark.parametrize(
    ("change", "wrong", "right"),
    [
        ("model.dropuot=0.2", "model.dropuot", "model.dropout"),
        ("dropout=0.2", "dropout", "model.dropout"),
        ("training.learning_rate=1e-3", "training.learning_rate", "optimizer.learning_rate"),
        ("model.vocab_size=3", "model.vocab_size", "tokenizer.vocab_size"),
        ("objective.mask_rat=0.2", "objective.mask_rat", "objective.mask_rate"),
        ("optimiser.name=muon", "optimiser", "optimizer"),
        ("sed=3", "sed", "seed"),
        ("trainig.steps=3", "trainig", "training"),
    ],
)
def test_a_misspelt_key_is_named_with_the_nearest_right_one(change: str, wrong: str, right: str) -> None:
    """Also where the right name stands in another section, or the section is misspelt."""
    said = refusal(change)
    assert f"there is no key {wrong!r}" in said or f"there is no key '{change.split('=')[0]}'" in said
    assert repr(right) in said


@pytest.mark.parametrize("name", [key.name for key in keys(BASE)])
def test_every_right_key_is_accepted_and_a_letter_too_much_is_not(name: str) -> None:
    """A typing slip in any key leads back to it, or to another key of the same name."""
    recipe = parse(BASE)
    assert with_value(recipe, name, value_of(recipe, name)) == recipe
    with pytest.raises(UsageError) as raised:
        with_value(recipe, name + "x", 1)
    assert "did you mean" in str(raised.value)
    assert name.split(".")[-1] in str(raised.value)


def test_all_mistakes_are_told_at_once() -> None:
    """Two wrong keys and a wrong value."""
    said = refusal("model.dropuot=0.2", "batch.sise=3", "training.steps=many")
    assert all(word in said for word in ("'model.dropuot'", "'batch.sise'", "training.steps='many'"))


# ---------------------------------------------------------------------------------------------- wrong values


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("training.steps=many", "training.steps='many': input should be a valid integer"),
        ("training.steps=0", "training.steps=0: input should be greater than or equal to 1"),
        ("model.dropout=1", "model.dropout=1: input should be less than 1"),
        ("model.norm=middle", "model.norm='middle': input should be 'pre' or 'post'"),
        ("objective.mask_rate=2", "objective.mask_rate=2: input should be less than 1"),
        ("batch.size=1.5", "batch.size=1.5: input should be a valid integer"),
        ("seed=0x10", "seed='0x10': input should be a valid integer"),
        ("training.minutes=1:30", "training.minutes='1:30': input should be a valid number"),
        ("training.minutes=.inf", "training.minutes='.inf': input should be a valid number"),
        ("training.minutes=inf", "training.minutes='inf': input should be a finite number"),
        ("training.steps=" + "9" * 5000, "training.steps='9999"),
        ("training.compile=2", "training.compile=2: input should be"),
        ("training.patience=never", "training.patience='never': input should be a valid integer"),
        ("training.precision=fp16", "training.precision='fp16': input should be 'auto'"),
        ("training.threads=x", "training.threads='x': input should be 'auto'"),
        ("training.threads=0", "training.threads=0: input should be"),
        ("training.compile=maybe", "training.compile='maybe': input should be"),
        ("model=3", "model=3: input should be"),
        ("objective=masked_lm", "objective='masked_lm': input should be"),
        ("training.steps.more=3", "training.steps={'more': 3}: input should be a valid integer"),
    ],
)
def test_a_wrong_type_or_value_names_key_and_value(change: str, said: str) -> None:
    """The key is written as the person writes it, once, and the value as it was understood."""
    message = refusal(change)
    assert said in message
    assert message.count(said.split("=")[0] + "=") == 1


def test_a_wrong_section_and_a_wrong_key_together() -> None:
    """`objective=masked_lm` (a value where a section belongs) does not break the search for the nearest key."""
    said = refusal("objective=masked_lm", "dropout=1")
    assert "'model.dropout'" in said
    assert "objective='masked_lm'" in said


def test_an_unknown_objective_is_named() -> None:
    """With the nearest one."""
    assert "did you mean 'masked_lm'" in refusal("objective.name=maskedlm")


@pytest.mark.parametrize(("n_heads", "d_model", "fitting"), [(5, 256, "2, 4, 8"), (7, 12, "3, 4, 6")])
def test_n_heads_must_divide_d_model(n_heads: int, d_model: int, fitting: str) -> None:
    """Both are named, and some that would do."""
    said = refusal(f"model.n_heads={n_heads}", f"model.d_model={d_model}")
    assert f"model.n_heads={n_heads} does not divide model.d_model={d_model}" in said
    assert fitting in said


@pytest.mark.parametrize(
    "pair", [("epochs", "minutes"), ("steps", "epochs"), ("steps", "minutes")], ids=lambda pair: "+".join(pair)
)
def test_a_run_has_one_length(pair: tuple[str, str]) -> None:
    """Two in one recipe contradict each other; either alone is fine."""
    said = refusal(tree=BASE | {"training": dict.fromkeys(pair, 3)})
    assert f"training.{pair[0]} and training.{pair[1]} are both given" in said
    for name in pair:
        assert value_of(parse(BASE | {"training": {name: 3}}), f"training.{name}") == 3


def test_two_lengths_in_one_breath_contradict_each_other() -> None:
    """Where each comes by itself, later ones replace earlier ones; a null is none."""
    with pytest.raises(UsageError, match=r"training.steps and training.minutes are both given"):
        refuse_two_lengths(["training.steps=10", "seed=2", "training.minutes=1"])
    refuse_two_lengths(["training.steps=10", "training.minutes=null", "training.steps=20"])


def test_what_is_wrong_with_a_member_of_a_mixture() -> None:
    """Its own key is named, and the nearest one of its own objective's, without a word about the list."""

    def said(**second: Any) -> str:
        members = [{"objective": {"name": "seq2seq"}}, {"objective": {"name": "span_corruption"}} | second]
        mixed = BASE | {"objective": {"name": "mixture", "members": members}}
        return refusal(tree=mixed) + refusal(tree=mixed | {"model": {"n_hed": 4}})

    wrong = said(objective={"name": "span_corruption", "corruption_rat": 0.1})
    assert "there is no key 'objective.members.1.objective.corruption_rat'" in wrong
    assert "did you mean 'objective.members.1.objective.corruption_rate'?" in wrong and "2 items" not in wrong
    wrong = said(weight=-1)
    assert "objective.members.1.weight=-1: input should be greater than 0" in wrong and "2 items" not in wrong
    wrong = said(objective={"name": "span_corruption", "corruption_rate": 7})
    assert "objective.members.1.objective.corruption_rate=7: input should be less than 1" in wrong
    assert "there is no key 'model.n_hed'; did you mean 'model.n_heads'?" in wrong  # elsewhere as ever
    assert "objective.members.1.objective='seq2seq'" in said(objective="seq2seq")
    wrong = said(objective={"name": "masked_lm"})
    assert "seq2seq needs an encoder and a decoder, and masked_lm in the same mixture one stack" in wrong
    short = {"name": "mixture", "members": [{"objective": {"name": "causal_lm"}}]}
    assert "at least 2 items" in refusal(tree=BASE | {"objective": short})


def test_a_length_on_the_command_line_replaces_the_recipes() -> None:
    """In whatever unit that was."""
    recipe = changed("training.minutes=2", tree=BASE | {"training": {"steps": 500}})
    assert (recipe.training.minutes, recipe.training.steps, recipe.training.epochs) == (2, None, None)
    recipe = changed("training.steps=5", "training.minutes=null", tree=BASE | {"training": {"minutes": 2}})
    assert (recipe.training.minutes, recipe.training.steps, recipe.training.epochs) == (None, 5, None)


def test_data_is_needed() -> None:
    """The one section without a default."""
    assert "data is missing" in refusal(tree={"model": {}})


# ------------------------------------------------------------------------------------------------- key=value


@pytest.mark.parametrize(
    ("change", "key", "value"),
    [
        ("optimizer.learning_rate=1e-3", "optimizer.learning_rate", 0.001),
        ("optimizer.learning_rate=.5", "optimizer.learning_rate", 0.5),
        ("optimizer.epsilon=1E-9", "optimizer.epsilon", 1e-9),
        ("training.steps=1_000", "training.steps", 1000),
        ("training.compile=true", "training.compile", True),
        ("training.compile=auto", "training.compile", "auto"),
        ("training.threads=3", "training.threads", 3),
        ("training.clip=null", "training.clip", None),
        ("training.precision=32-true", "training.precision", "32-true"),
        ("data.train=[a.txt, b.txt]", "data.train", ["a.txt", "b.txt"]),
        ("data.train=a=b.txt", "data.train", "a=b.txt"),
        ("data.train=hub:a/b:c:train", "data.train", "hub:a/b:c:train"),
        ("data.train=*.txt", "data.train", "*.txt"),
        ("data.train=[ab]*.txt", "data.train", "[ab]*.txt"),
        ("data.train=['a, b.txt', 1e3]", "data.train", ["a, b.txt", "1e3"]),
        ("data.train=null.txt", "data.train", "null.txt"),
        ("data.train=1e3", "data.train", "1e3"),
        ("data.validation=none", "data.validation", None),
        ("data.validation=null.txt", "data.validation", "null.txt"),
        ("data.document_start=# ", "data.document_start", "# "),
        ("data.document_start==---", "data.document_start", "=---"),
        ("data.document_start==^X:", "data.document_start", "=^X:"),
        ("data.document_start=[0-9]", "data.document_start", "[0-9]"),
        ("data.document_start={1}", "data.document_start", "{1}"),
        ("data.language=no", "data.language", "no"),
        ("data.column=0", "data.column", "0"),
        ("data.column=007", "data.column", "007"),
        ("data.column=1:30", "data.column", "1:30"),
        ("tokenizer.unknown=2024-13-45", "tokenizer.unknown", "2024-13-45"),
        ("description=two words: a colon # and more", "description", "two words: a colon # and more"),
        ("description='in quotes'", "description", "'in quotes'"),
        ("description=null", "description", "null"),
        ("description=", "description", ""),
        ("description=!!python/name:os.system", "description", "!!python/name:os.system"),
        ("model.positions=none", "model.positions", "none"),
        ("model={d_model: 64, norm: post}", "model.norm", "post"),
        ("target_tokenizer={kind: word, unknown: no}", "target_tokenizer.unknown", "no"),
        ("target_tokenizer=none", "target_tokenizer", None),
        ("training.patience=none", "training.patience", None),
        ("training.compile=no", "training.compile", False),
        ("training.compile=Yes", "training.compile", True),
        ("training.probes=sun [MASK], star", "training.probes", ["sun [MASK], star"]),
        ("training.probes=[no, 1:30]", "training.probes", ["no", "1:30"]),
        ("training.probes=[]", "training.probes", []),
        ("training.steps=1e3", "training.steps", 1000),
        ("seed=010", "seed", 10),
        ("optimizer.learning_rate=1e-3", "optimizer.learning_rate", 1e-3),
        ("tokenizer.unknown=<unk>", "tokenizer.unknown", "<unk>"),
    ],
)
def test_values_are_taken_by_the_type_of_their_key(change: str, key: str, value: Any) -> None:
    """Text stays as it was typed, numbers are decimal, lists and sections are in brackets."""
    assert value_of(changed(change), key) == value


@pytest.mark.parametrize(
    "change", ["data.train=[a, {]", "model={d_model: 64", "model={d_model: 64, d_model: 32}", "objective={name: [}"]
)
def test_a_list_or_section_that_cannot_be_read_is_refused(change: str) -> None:
    """With the key, what was typed, and how lists and sections are written."""
    said = refusal(change)
    assert f"{change} cannot be read" in said
    assert "a list is written [a, b]" in said


def test_the_objective_decides_the_types_of_its_keys() -> None:
    """Also where it is changed in the same breath, before or after its keys, and for every member of a mixture."""
    prefix = ("objective.prefix=no", "objective.name=seq2seq")
    for changes in (prefix, prefix[::-1], ("objective={name: seq2seq, prefix: no}",)):
        assert value_of(changed(*changes), "objective.prefix") == "no"
    assert (
        value_of(changed("objective.name=seq2seq", "objective.prefix=translate: "), "objective.prefix") == "translate: "
    )
    members = (
        "{objective: {name: seq2seq, prefix: 'no: '}, label: 1e3}, {objective: {name: span_corruption}, weight: 2}"
    )
    first, second = value_of(changed(f"objective={{name: mixture, members: [{members}]}}"), "objective.members")
    assert (first["objective"]["prefix"], first["label"], second["weight"]) == ("no: ", "1e3", 2.0)


LEFT_OUT = ("target_tokenizer.", "init_from.")
"""Sections that a recipe need not have: where they are left out, their keys have no values."""


@pytest.mark.parametrize("name", [key.name for key in keys(BASE) if not key.name.startswith(LEFT_OUT)])
def test_every_value_that_is_printed_is_accepted(name: str) -> None:
    """What `glassformer recipes` shows for a key can be typed behind it."""
    recipe = parse(BASE)
    value = value_of(recipe, name)
    assert with_changes(BASE, [f"{name}={as_written(value)}"]) == recipe, as_written(value)


def test_changes_may_be_a_mapping() -> None:
    """Dotted keys, sections, both in one; values as Python has them, none of them read as text."""
    dotted = {"training.steps": 5, "training.patience": None, "data.column": "none", "training.probes": ("a", "b")}
    nested = {"training": {"steps": 5, "patience": None, "probes": ["a", "b"]}, "data": {"column": "none"}}
    for changes in (dotted, nested, {"data.column": "none", "training": dict(nested["training"])}, [dotted]):
        recipe = parse(apply_changes(BASE, changes))
        assert (recipe.training.steps, recipe.training.patience, recipe.data.column) == (5, None, "none")
        assert recipe.training.probes == ("a", "b")
    assert parse(apply_changes(BASE, {"objective.name": "causal_lm"})).model.family == "decoder"
    assert parse(apply_changes(BASE, {"data.train": Path("other.txt")})).data.train == "other.txt"
    again = [listed(as_recorded(changes)) for changes in (dotted, ["data.column=none"])]
    assert again == [listed(dotted), listed(["data.column=none"])]
    with pytest.raises(UsageError, match=r"seed cannot be a object"):
        apply_changes(BASE, {"seed": object()})


BERT = {"norm": "post", "embedding_norm": True, "positions": "learned", "segments": 2, "activation": "gelu"}


def model_section(recipe: Recipe) -> dict[str, Any]:
    return {key: value for key, value in recipe.model.model_dump().items() if key in BERT}


def test_a_preset_that_is_asked_for_wins_over_the_recipe() -> None:
    """But not over what is asked for beside it, in whatever order; sizes stay the recipe's. In a file the keys beside
    `preset` win."""
    tree = BASE | {"model": {"norm": "pre", "positions": "rotary", "embedding_norm": False, "d_model": 64}}
    assert model_section(changed("model.preset=bert", tree=tree)) == BERT
    assert changed("model.preset=bert", tree=tree).model.d_model == 64
    for changes in (("model.preset=bert", "model.positions=alibi"), ("model.positions=alibi", "model.preset=bert")):
        assert model_section(changed(*changes, tree=tree)) == BERT | {"positions": "alibi"}
    assert model_section(parse(apply_changes(tree, {"model": {"preset": "bert"}}))) == BERT
    both = tree | {"model": tree["model"] | {"preset": "bert"}}
    assert parse(both).model.positions == "rotary"
    assert tree["model"]["positions"] == "rotary", "the tree itself is left as it was"


def test_another_preset_takes_the_old_one_with_it() -> None:
    """A recorded recipe has every key; what llama's said does not stay where bert is asked for."""
    recorded = parse(BASE | {"model": {"preset": "llama", "d_model": 64, "dropout": 0.3, "family": "encoder"}})
    asked = changed("model.preset=bert", tree=recorded.model_dump(mode="json")).model
    assert (asked.norm_kind, asked.bias, asked.tied, asked.d_model, asked.dropout) == ("layer", True, True, 64, 0.3)
    assert "did you mean 'bert'" in refusal("model.preset=brt")


@pytest.mark.parametrize("change", ["training.steps", "=3", ""])
def test_what_is_not_key_value_is_refused(change: str) -> None:
    """With an example."""
    assert "is not key=value" in refusal(change)
    assert "training.steps=500" in refusal(change)


def test_changes_do_not_touch_what_they_are_given() -> None:
    """A copy is changed."""
    tree = {"data": {"train": "my.txt"}, "model": {"d_model": 64}}
    apply_changes(tree, ["model.d_model=32"])
    assert tree["model"] == {"d_model": 64}


def test_the_last_of_two_changes_counts() -> None:
    """As on every command line."""
    assert changed("seed=3", "seed=4").seed == 4


def test_an_empty_section_may_be_filled() -> None:
    """`model:` with nothing below it is YAML for none: its defaults hold, and keys can be set."""
    tree = BASE | {"model": None}
    assert parse(tree) == parse(BASE)
    assert changed("model.d_model=64", tree=tree).model.d_model == 64


@pytest.mark.parametrize("change", ["data.validation=mine.tsv", "data.language=de"])
def test_a_change_to_data_that_nobody_reads_is_refused(change: str) -> None:
    """Every member of this mixture has data of its own; in others, and for another objective, it counts."""
    with pytest.raises(
        UsageError, match=f"'{change}' would be read by nobody: paraphrase, answer, translate"
    ) as raised:
        read("text-to-text-demo", [change])
    assert "objective.members" in raised.value.mend
    key, _, value = change.partition("=")
    for name, more in (("text-to-text-demo", ["objective.name=seq2seq"]), ("mixture-wikitext2", [])):
        assert value_of(read(name, [change, *more]), key) == value
    tree = read_tree("text-to-text-demo")
    del tree["objective"]["members"][1]["data"]
    assert value_of(with_changes(tree, [change]), key) == value  # one member reads it


def test_a_mixture_is_no_member_of_a_mixture() -> None:
    members = [{"objective": {"name": "masked_lm"}}, {"objective": {"name": "mixture"}}]
    with pytest.raises(UsageError, match="a mixture cannot be a member of a mixture") as raised:
        parse(BASE | {"objective": {"name": "mixture", "members": members}})
    assert "name its members" in raised.value.mend


# ----------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_recipe_is_right(name: str, tmp_path: Path) -> None:
    """It parses, says what it is in a line, gives a length, and survives being written and read."""
    recipe = read(name)
    assert 20 < len(recipe.description) < 120
    assert any((recipe.training.steps, recipe.training.epochs, recipe.training.minutes))
    file = tmp_path / "copy.yaml"
    file.write_text(to_yaml(recipe), encoding="utf-8")
    assert read(str(file)) == recipe


def test_the_three_promised_recipes_are_shipped() -> None:
    """By the names of the README."""
    assert {"mlm-demo", "mlm-wikitext2", "mlm-wikitext2-word"} <= set(shipped())


@given(
    seed=st.integers(0, 2**32 - 1),
    dropout=st.floats(0, 0.99),
    rate=st.floats(1e-12, 1e6),
    train=st.one_of(st.text(min_size=1), st.lists(st.text(min_size=1), min_size=1, max_size=3)),
)
def test_any_recipe_survives_yaml(seed: int, dropout: float, rate: float, train: str | list[str]) -> None:
    """To the last bit of every number and the oddest file name."""
    tree = {
        "seed": seed,
        "data": {"train": train},
        "model": {"dropout": dropout},
        "optimizer": {"learning_rate": rate},
        "objective": {"name": "masked_lm", "mask_rate": 0.3},
    }
    try:
        recipe = parse(tree)
    except GlassformerError:  # a surrogate in a name
        return
    assert parse(from_yaml(to_yaml(recipe), "it")) == recipe


ODD = [
    "no",
    "on",
    "1:30",
    "0o7",
    "010",
    "~",
    "null",
    "none",
    "2024-13-45",
    "=",
    "<<",
    "1e3",
    "1_000",
    "# ",
    "- a",
    "*a",
]
ODD += [
    "&a",
    "!!int 5",
    "{a: b}",
    "[a]",
    "'",
    '"',
    "a: b",
    " ",
    "\t",
    "\n",
    "\x85",
    "%",
    "@",
    "",
    "? a",
    "|",
    "...",
    "---",
]


@given(
    text=st.sampled_from(ODD) | st.text(st.sampled_from("no~=<>#:-[]{}'\"!&*|% \n0159e+"), min_size=1, max_size=6),
    more=st.lists(st.sampled_from(ODD), min_size=1, max_size=3),
)
@settings(max_examples=40)
def test_any_text_survives_in_every_key_of_texts(text: str, more: list[str]) -> None:
    """Written into a run's recipe and read again it is the same text, whatever else YAML would take it for."""
    tree = {
        "description": text,
        "data": {"train": more, "column": text, "validation": text},
        "objective": {"name": "seq2seq", "prefix": text},
        "training": {"probes": more},
    }
    recipe = parse(tree)
    assert parse(from_yaml(to_yaml(recipe), "it")) == recipe
    assert parse(yaml.safe_load(to_yaml(recipe))) == recipe  # any other reader of YAML sees the same
    assert parse(apply_changes(BASE, [f"description={text}"])).description == text


def test_the_objectives_own_keys_survive() -> None:
    """The section is typed by its name, also when it is written."""
    recipe = changed("objective.mask_rate=0.4", "objective.whole_word=true")
    again = parse(yaml.safe_load(to_yaml(recipe)))
    assert value_of(again, "objective.mask_rate") == 0.4
    assert type(again.objective) is type(recipe.objective)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing.yaml", None, "there is no file"),
        ("broken.yaml", b"data:\n  train: [a\nmodel: {}\n", "line 3"),
        ("empty.yaml", b"", "no sections"),
        ("list.yaml", b"- a\n- b\n", "no sections"),
        ("binary.yaml", b"data: \xff\xfe\x00", "byte 6"),
        ("control.yaml", b"data: \x00\n", "is not YAML"),
        ("numbers.yaml", b"1: 2\ndata: {train: a}\n", "there is no key '1'"),
        ("deep.yaml", b"data: " + b"[" * 2000, "line 1: more than 32 levels"),
        ("deep_blocks.yaml", b"".join(b" " * n + b"a:\n" for n in range(100)), "more than 32 levels"),
        ("own_child.yaml", b"data: &a\n  train: *a\n", "more than 32 levels"),
        (
            "laughs.yaml",
            b"a: &a [x, x, x, x, x, x, x, x]\n"
            + b"".join(
                f"{chr(n + 1)}: &{chr(n + 1)} [{', '.join([f'*{chr(n)}'] * 8)}]\n".encode() for n in range(97, 105)
            ),
            "more than 20,000 values",
        ),
        ("long_number.yaml", b"seed: " + b"9" * 6000 + b"\ndata: {train: a}\n", "seed='9999"),
        ("escape.yaml", b'description: "\\UFFFFFFFF"\n', "is not YAML"),
        ("version.yaml", b"%YAML " + b"9" * 5000 + b".1\n---\ndata: {train: a}\n", "is not YAML"),
        ("twice.yaml", b"seed: 1\ndata: {train: a}\nseed: 2\n", "line 3: the key 'seed' is there twice"),
        ("merged.yaml", b"x: &x {train: a}\ndata:\n  <<: *x\n", "line 3: merge keys"),
        ("pair.yaml", b"? [a, b]\n: c\ndata: {train: a}\n", "line 1: a list or a mapping cannot be a key"),
        ("code.yaml", b"data: {train: a}\nseed: !!python/name:os.system\n", "line 2: the tag 'python/name:os.system'"),
        ("bytes.yaml", b"data: {train: !!binary aGk=}\n", "the tag 'binary'"),
        ("tab.yaml", b"data:\n\ttrain: a\n", "is not YAML, line 2"),
        ("two.yaml", b"data: {train: a}\n---\ndata: {train: b}\n", "but found another document"),
        ("large.yaml", b"description: " + b"x" * 200_000, "a recipe has at most 200,000"),
        ("nowhere.yaml/at.yaml", None, "there is no file"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    """Named, with the place, and never with a traceback."""
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError) as raised:
        read(str(file))
    assert name in str(raised.value)
    assert said in str(raised.value)


def test_what_is_no_plain_file_is_not_read(tmp_path: Path) -> None:
    """A folder, and a pipe into which nobody ever writes."""
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    for name in ("folder.yaml", "pipe.yaml"):
        with pytest.raises(UsageError, match="is no plain file"):
            read(str(tmp_path / name))


@given(st.text(st.sampled_from("ab:-[]{},'\"!&*<|>%@?# \n\t0\\U.~="), max_size=40) | st.text(max_size=20))
def test_no_text_is_a_traceback(text: str) -> None:
    """A tree or a UsageError."""
    try:
        assert isinstance(from_yaml(text, "it"), dict)
    except UsageError as error:
        assert "it is" in error.what


FILE = b"""
description: 2024-13-45
seed: 010
data: {train: [no, 1e3, "null"], language: no, column: 0, validation: null, document_start: =---, test: ~}
tokenizer: {unknown: 12:30}
objective: {name: seq2seq, prefix: on}
model: &sizes {d_model: 64, positions: none, n_kv_heads: none}
training: {patience: none, compile: off, minutes: 1e-3, probes: [1:30]}
target_tokenizer:
"""


def test_a_file_says_what_stands_in_it(tmp_path: Path) -> None:
    """None of what YAML 1.1 would make of it: false, 8, 0, a date, 750."""
    (tmp_path / "mine.yaml").write_bytes(FILE)
    recipe = read(str(tmp_path / "mine.yaml"))
    assert (recipe.description, recipe.seed, recipe.tokenizer.unknown) == ("2024-13-45", 10, "12:30")
    assert recipe.data.train == ("no", "1e3", "null")
    assert (recipe.data.language, recipe.data.column, recipe.data.document_start) == ("no", "0", "=---")
    assert (recipe.data.validation, recipe.data.test, recipe.target_tokenizer) == (None, None, None)
    assert value_of(recipe, "objective.prefix") == "on"
    assert (recipe.model.positions, recipe.model.n_kv_heads) == ("none", None)
    training = recipe.training
    assert (training.patience, training.compile, training.minutes, training.probes) == (None, False, 1e-3, ("1:30",))


def test_a_name_that_is_no_recipe() -> None:
    """The nearest shipped one is named."""
    with pytest.raises(UsageError, match="did you mean 'mlm-demo'"):
        read_tree("mlm-demmo")


# --------------------------------------------------------------------------------------------- keys for people


def test_every_key_has_a_type_a_default_and_a_meaning() -> None:
    """`glassformer recipes NAME` prints them: none is empty, none comes twice, and the names are those that work."""
    found = keys(BASE)
    assert len({key.name for key in found}) == len(found) > 50
    for key in found:
        assert key.type, key
        assert key.meaning or key.name == "objective.name", key
        assert not any(word in key.type for word in ("glassformer.", "Annotated", "Union", "Literal")), key


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("seed", "int"),
        ("model.norm", '"pre" | "post"'),
        ("training.steps", "int | None"),
        ("training.threads", '"auto" | int'),
        ("training.compile", '"auto" | bool'),
        ("data.train", "str | tuple[str, ...]"),
        ("objective.mask_rate", "float"),
    ],
)
def test_types_are_written_as_people_write_them(name: str, type_: str) -> None:
    """Without the machinery around them."""
    assert {key.name: key.type for key in keys(BASE)}[name] == type_


def test_a_recipe_cannot_be_changed() -> None:
    """Frozen: what decides a run stands still while it runs."""
    with pytest.raises(ValueError, match="frozen"):
        setattr(parse(BASE), "seed", 3)  # noqa: B010
    with pytest.raises(ValueError, match="frozen"):
        setattr(ModelConfig(), "d_model", 3)  # noqa: B010


@pytest.mark.parametrize(("before", "now"), [("glassformer", "transformer"), ("torch", "pytorch")])
def test_a_key_that_was_renamed_is_read_under_its_old_name(before: str, now: str) -> None:
    """In a file, as a change over the new name and under it; both in one file are refused."""
    old = {"data": {"train": "x.txt"}, "model": {"implementation": before}}
    new = {"data": {"train": "x.txt"}, "model": {"kind": "pytorch" if now == "transformer" else "transformer"}}
    assert parse(old).model.kind == now
    assert with_changes(new, [f"model.implementation={before}"]).model.kind == now
    assert with_changes(old, ["model.kind=transformer"]).model.kind == "transformer"
    assert with_changes(new, {"model": {"implementation": before}}).model.kind == now
    with pytest.raises(UsageError, match=r"old name of model.kind, and both"):
        parse({"data": {"train": "x.txt"}, "model": {"implementation": before, "kind": "transformer"}})
    with pytest.raises(UsageError, match="there is no kind of model 'transformr'\ndid you mean 'transformer'"):
        parse({"data": {"train": "x.txt"}, "model": {"kind": "transformr"}})


# ---------------------------------------------------------------------------------------------- attention mechanisms

LOCAL = {"name": "local", "window": 8}


@pytest.mark.parametrize(
    "changes",
    [
        ["model.attention.name=local", "model.attention.window=8"],
        ["model.attention.window=8", "model.attention.name=local"],
        ["model.attention={name: local, window: 8}"],
        [{"model": {"attention": LOCAL}}],
        ["model.attention=local", "model.attention.window=8"],
        ["model.attention.window=8", "model.attention=local"],
    ],
)
def test_a_mechanism_is_given_keys_of_its_own(changes):
    """In one piece or key by key; and what is saved is read again."""
    recipe = read("mlm-demo", changes)
    assert recipe.model_dump(mode="json")["model"]["attention"] == LOCAL
    assert parse(from_yaml(to_yaml(recipe), "it")) == recipe and value_of(recipe, "model.attention.window") == 8
    assert "model.attention.window" in {key.name for key in keys(recipe.model_dump())}
    assert with_value(recipe, "model.attention.window", 3).model.attention.window == 3


def test_a_plain_name_stays_one_where_a_mechanism_has_no_keys():
    """As recipes of before have it; with keys, all of them are saved."""
    for change in ("model.attention=full", "model.attention={name: full}", "model.attention.name=full"):
        assert read("mlm-demo", [change]).model_dump(mode="json")["model"]["attention"] == "full"
    assert read("mlm-demo", ["model.attention=local"]).model_dump(mode="json")["model"]["attention"]["window"] == 128


def test_another_mechanism_takes_the_keys_of_the_old_one_with_it():
    tree = {"model": {"attention": LOCAL}, **BASE}
    assert with_changes(tree, ["model.attention.name=full"]).model.attention == "full"
    assert with_changes(tree, ["model.attention=full"]).model.attention == "full"
    assert with_changes(tree, ["model.attention.window=3"]).model.attention.window == 3


def test_a_list_has_one_for_each_layer_again_and_again():
    recipe = read("mlm-demo", ["model.n_layers=4", "model.attention=[full, {name: local, window: 8}]"])
    assert recipe.model_dump(mode="json")["model"]["attention"] == ["full", LOCAL]
    assert [recipe.model.mechanism_of(n).name for n in range(4)] == ["full", "local", "full", "local"]
    assert parse(from_yaml(to_yaml(recipe), "it")) == recipe


@pytest.mark.parametrize(
    "change, said",
    [
        ("model.attention.name=lokal", "no attention mechanism 'lokal'\ndid you mean 'local'"),
        ("model.attention={name: local, widow: 8}", "'model.attention.widow'; did you mean 'model.attention.window'"),
        ("model.attention=[full, {name: local, widow: 8}]", "did you mean 'model.attention.window'"),
        ("model.attention={window: 8}", "should be a name, such as full, or a name with keys"),
        ("model.attention.window=8", "no key 'model.attention.window'"),
        ("model.attention={name: local, window: 0}", "model.attention.window=0: .* greater than or equal to 1"),
        ("model.attention=[]", "at least one"),
        ("model.attention=[full, full, full]", "lists 3 mechanisms, and a stack has 2 blocks"),
    ],
)
def test_a_wrong_mechanism_is_refused(change, said):
    with pytest.raises(UsageError, match=said):
        read("mlm-demo", [change])
