"""Changes to a recipe: dotted `key=value` texts from a command line, or a mapping with values of Python's own."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import PydanticSerializationError, to_jsonable_python

from glassformer.config import Config
from glassformer.errors import UsageError
from glassformer.model.attention_config import DEFAULT, known_keys
from glassformer.model.config import presets
from glassformer.values import NONES, annotation_of, typed

Changes = Sequence[str | Mapping[str, Any]] | Mapping[str, Any]
"""`["training.steps=5"]`, `{"training.steps": 5}` and `{"training": {"steps": 5}}` say the same."""

LENGTHS = ("steps", "epochs", "minutes")
"""The keys of `training` that each say how long it is."""
ATTENTION = "model.attention"
"""A name, or a section whose keys its name decides."""


RENAMED: dict[str, tuple[str, dict[Any, Any]]] = {
    "model.implementation": ("model.kind", {"glassformer": "transformer", "torch": "pytorch"}),
}
"""Keys that had another name once, which is still read: what they are called now, and values that are called otherwise
too."""


class Change(NamedTuple):
    """One dotted key and what it becomes."""

    key: str
    value: Any
    as_text: bool
    """Whether the value is a text that a person typed, to be taken by the type of its key."""

    def __str__(self) -> str:
        return f"{self.key}={self.value}"

    @property
    def recorded(self) -> str | dict[str, Any]:
        """As JSON can hold it, and `listed` reads it again."""
        return str(self) if self.as_text else {self.key: self.value}

    def value_by(self, annotation: Any) -> Any:
        """The value by the type of its key. Raises UsageError for a list or section that cannot be read."""
        return typed(self.key, self.value, annotation) if self.as_text else self.value


def listed(changes: Changes) -> list[Change]:
    """The changes one by one, old names of keys replaced. Raises UsageError for a text without `=`, and for a value
    that no recipe can hold."""
    given = [changes] if isinstance(changes, str | Mapping) else changes
    return [_by_its_name_now(change) for each in given for change in _split(each)]


def _by_its_name_now(change: Change) -> Change:
    key, values = RENAMED.get(change.key, (change.key, {}))
    return change._replace(key=key, value=values.get(change.value, change.value)) if values else change


def with_names_of_now(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's tree with the keys that had another name once under that of now. Raises UsageError where both stand
    there."""
    changed = dict(tree)
    for before, (now, values) in RENAMED.items():
        (section, old), (_, new) = before.split("."), now.split(".")
        keys = changed.get(section)
        if not isinstance(keys, Mapping) or old not in keys:
            continue
        if new in keys:
            raise UsageError(f"{before} is the old name of {now}, and both are given", f"keep {now}")
        value = keys[old]
        kept = {key: value for key, value in keys.items() if key != old}
        changed[section] = kept | {new: values.get(value, value) if isinstance(value, str) else value}
    return changed


def _split(given: str | Mapping[str, Any]) -> Iterator[Change]:
    if isinstance(given, Mapping):
        yield from _flat(given, "")
        return
    key, equals, value = given.partition("=")
    if not equals or not key:
        raise UsageError(f"{given!r} is not key=value", "for example: training.steps=500")
    yield Change(key, value, as_text=True)


def _flat(tree: Mapping[str, Any], prefix: str) -> Iterator[Change]:
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{key}.")
            continue
        try:
            yield Change(key, str(value) if isinstance(value, Path) else to_jsonable_python(value), as_text=False)
        except PydanticSerializationError:
            raise UsageError(f"{key} cannot be a {type(value).__name__}", "give a number, a text or a list") from None


def as_recorded(changes: Changes) -> list[str | dict[str, Any]]:
    """The changes as JSON can hold them, and `listed` reads them again."""
    return [change.recorded for change in listed(changes)]


def apply(root: type[Config], tree: dict[str, Any], changes: Changes) -> dict[str, Any]:
    """A copy of the `root`'s tree with changes. What a person names wins over what the tree had: another objective and
    another preset take the keys with them that belonged to the old one. Raises UsageError."""
    changed, asked = with_names_of_now(copy.deepcopy(tree)), listed(changes)
    for change in asked:
        if change.key == "objective.name":  # another objective has other keys
            if objective_name(changed) != change.value or not isinstance(changed.get("objective") or {}, dict):
                changed["objective"] = {"name": change.value}
        elif change.key == "model.preset":
            _make_room(changed, change.value)
        elif change.key == f"{ATTENTION}.name":  # so does another mechanism
            _section_at(changed, ["model"], change.key)["attention"] = {"name": change.value}
    named = {change.key: change.value for change in asked if change.key.partition(".")[0] == "init_from"}
    _begin_from(changed, named)
    for change in sorted(asked, key=lambda change: change.key != ATTENTION):  # the whole before what is inside
        if change.key == "init_from" and isinstance(change.value, str) and changed.get("init_from"):
            continue
        *path, leaf = change.key.split(".")
        if path == ATTENTION.split("."):
            _open_attention(changed)
        section = _section_at(changed, path, change.key)
        section[leaf] = change.value_by(_annotation(root, changed, change.key))
        if path == ["training"] and leaf in LENGTHS and section[leaf] is not None:
            _replace_length(section, leaf)
    return changed


def objective_name(tree: Mapping[str, Any]) -> str:
    """The objective of a recipe's tree."""
    section = tree.get("objective")
    return str(section.get("name", "masked_lm")) if isinstance(section, dict) else "masked_lm"


def _annotation(root: type[Config], tree: Mapping[str, Any], key: str) -> Any:
    """The type of a dotted key; the keys of an attention mechanism are those of the one that the tree names."""
    own = known_keys(tree.get("model")) if key.startswith(f"{ATTENTION}.") else None
    if own is None:
        return annotation_of(root, key, objective_name(tree))
    return annotation_of(own, key.removeprefix(f"{ATTENTION}."), "")


def _open_attention(tree: dict[str, Any]) -> None:
    """Write an attention mechanism that stands there by its name alone as a section, which has room for its keys."""
    section = _section_at(tree, ["model"], ATTENTION)
    given = section.get("attention")
    if given is None or isinstance(given, str):
        section["attention"] = {"name": given or DEFAULT}


def _make_room(tree: dict[str, Any], name: Any) -> None:
    """Take out of the model's section what the preset of that name says, and what an earlier preset had said."""
    section = tree.get("model")
    if not isinstance(section, dict):
        return
    before, after = (presets().get(str(preset), {}) for preset in (section.get("preset"), name))
    tree["model"] = {
        key: value for key, value in section.items() if key not in after and (key not in before or before[key] != value)
    }


def _begin_from(tree: dict[str, Any], named: Mapping[str, Any]) -> None:
    """A path alone says where weights begin. Where a person names that, the model is the one that is there, and so is
    the tokenizer unless it shall be the recipe's own."""
    given = named.get("init_from", tree.get("init_from"))
    if isinstance(given, str):
        tree["init_from"] = None if given in NONES else {"run": given}
    if tree.get("init_from") and ("init_from" in named or "init_from.run" in named):
        kept = named.get("init_from.tokenizer", "keep") == "keep"
        for name in ("model", *(("tokenizer", "target_tokenizer") if kept else ())):
            tree.pop(name, None)


def _section_at(tree: dict[str, Any], path: Sequence[str], key: str) -> dict[str, Any]:
    section = tree
    for name in path:
        if section.get(name) is None:
            section[name] = {}
        section = section[name]
        if not isinstance(section, dict):
            raise UsageError(f"there is no key {key!r}: {name} is no section", "see `glassformer recipes NAME`")
    return section


def _replace_length(section: dict[str, Any], leaf: str) -> None:
    """A length that is asked for replaces the recipe's, in whatever unit that was."""
    for other in {*LENGTHS} - {leaf}:
        section.pop(other, None)


def lengths_in(changes: Changes) -> list[str]:
    """The lengths among the changes, those of none left out."""
    given = {
        change.key.removeprefix("training."): change.value_by(int | None)
        for change in listed(changes)
        if change.key.startswith("training.")
    }
    return [name for name in LENGTHS if given.get(name) is not None]
