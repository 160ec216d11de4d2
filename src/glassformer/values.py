"""Values by the type of their key: what a person types or writes into a file is never taken for something else.

A key whose type is text has the text as it stands: `no`, `=---`, `# `, `12:30`, `1e3` are texts there. Numbers are
decimal. `none` and `null` are none where a key allows that. Lists are written `[a, b]`, sections `{key: value}`.
"""

import re
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml

from glassformer.config import Config
from glassformer.errors import UsageError
from glassformer.model.attention_config import MechanismConfig, mechanism_config
from glassformer.objective_configs import needs_of
from glassformer.yaml_text import compose

NULLS = frozenset({"", "~", "null", "Null", "NULL"})
"""None in a YAML file, of a text too."""
NONES = NULLS | {"none", "None"}
"""None on the command line, and in a file where the key is no text."""
TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
INTEGER = re.compile(r"[+-]?[0-9](_?[0-9])*")
DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
LONGEST_NUMBER = 40
"""Characters: more digits are no number that a recipe could mean, and slow to read."""


def kinds(annotation: Any) -> tuple[Any, ...]:
    """The types that a value may have: a union taken apart."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kinds(parts[0])
    if origin in (Union, UnionType):
        return tuple(kind for part in parts for kind in kinds(part))
    return () if annotation is None else (annotation,)


def section_of(annotation: Any) -> type[Config] | None:
    """The section that a key is, also where it may be left out. `Config` itself is one that its `name` decides."""
    return next((kind for kind in kinds(annotation) if isinstance(kind, type) and issubclass(kind, Config)), None)


def item_of(annotation: Any) -> Any:
    """The type of the items, where a value may be a list."""
    return next((get_args(kind)[0] for kind in kinds(annotation) if get_origin(kind) is tuple), None)


def annotation_of(root: type[Config], key: str, objective: str) -> Any:
    """The type of a dotted key; none where there is no such key, or its objective is not known. Keys of a mechanism
    are asked of its own configuration."""
    annotation: Any = root
    for name in key.split("."):
        section = _named(section_of(annotation), objective)
        field = None if section is None else section.model_fields.get(name)
        if field is None:
            return None
        annotation = field.annotation
    return annotation


def typed(key: str, text: str, annotation: Any) -> Any:
    """What was typed behind `key=`. Raises UsageError for a list or section that cannot be read."""
    item, shape = item_of(annotation), text.strip()
    a_list = item is not None and shape.startswith("[") and shape.endswith("]")
    a_section = shape.startswith("{") and (section_of(annotation) or section_of(item)) is not None
    if a_list or a_section:
        try:
            root = compose(shape, "it")
        except UsageError as error:
            raise UsageError(
                f"{key}={text} cannot be read: {error.what.partition(': ')[2]}",
                "a list is written [a, b], a section {name: value}; put texts with , : ] or } in quotes there",
            ) from None
        return built(root, annotation)
    value = from_text("" if text == '""' and str in kinds(annotation) else text, annotation)  # as `recipes` prints it
    return [value] if isinstance(value, str) and item is str and str not in kinds(annotation) else value


def from_text(text: str, annotation: Any, in_file: bool = False) -> Any:
    """A text without quotes, by the type of its key; the text itself where it does not fit, which is refused later."""
    found = kinds(annotation)
    if any(get_origin(kind) is Literal and text in get_args(kind) for kind in found):
        return text
    may_be_none = NoneType in found or section_of(annotation) is not None
    if may_be_none and text in (NULLS if in_file and str in found else NONES):
        return None
    if str in found:
        return text
    if bool in found and text.lower() in TRUTH:
        return TRUTH[text.lower()]
    return number(text)


def number(text: str) -> int | float | str:
    """A decimal number, or the text as it is."""
    if len(text) > LONGEST_NUMBER:
        return text
    if INTEGER.fullmatch(text):
        return int(text)
    return float(text) if DECIMAL.fullmatch(text) else text


def built(node: yaml.Node | None, annotation: Any) -> Any:
    """A node of YAML by the type of its key. Text in quotes is text."""
    if node is None:
        return None
    if isinstance(node, yaml.MappingNode):
        section = _named(section_of(annotation), _name_in(node))
        return dict(_entries(node, section))
    if isinstance(node, yaml.SequenceNode):
        return [built(item, item_of(annotation)) for item in node.value]
    plain = isinstance(node, yaml.ScalarNode) and node.style is None
    return from_text(node.value, annotation, in_file=True) if plain else node.value


def _entries(node: yaml.MappingNode, section: type[Config] | None) -> Iterator[tuple[str, Any]]:
    for key, value in node.value:
        field = None if section is None else section.model_fields.get(key.value)
        yield key.value, built(value, None if field is None else field.annotation)


def _name_in(node: yaml.MappingNode) -> str:
    """What a section says its name is."""
    found = (value.value for key, value in node.value if key.value == "name" and isinstance(value, yaml.ScalarNode))
    return next(found, "masked_lm")


def _named(section: type[Config] | None, name: str) -> type[Config] | None:
    """The section itself, or, where its name decides, the objective's or attention mechanism's of that name."""
    try:
        if section is MechanismConfig:
            return mechanism_config(name)
        return needs_of(name).config if section is Config else section
    except UsageError:
        return None
