"""Which attention mechanism a layer has, as a recipe says it: a name, a name with keys of its own, or a list of these.

    attention: full
    attention: {name: local, window: 128}
    attention: [full, {name: local, window: 128}]      the first layer, the second, and so on again

A mechanism's keys are defined beside its code, which needs torch; it is loaded when a recipe names it. Full attention
has none, and is read without.
"""

import importlib
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, PlainValidator, SerializeAsAny
from pydantic_core import PydanticCustomError

from glassformer.config import Config
from glassformer.errors import UsageError
from glassformer.plugins import check_plugin

PACKAGE = "glassformer.model.attention"
"""The folder in which every file is an attention mechanism."""
DEFAULT = "full"


class MechanismConfig(Config):
    """What a mechanism lets a recipe choose: nothing but its name, unless it defines a subclass."""

    name: str = Field(description="the attention mechanism (a file in model/attention)")


def mechanism_config(name: str) -> type[MechanismConfig]:
    """The keys of one mechanism. Raises UsageError naming the nearest one."""
    check_plugin(PACKAGE, name, "attention mechanism")
    if name == DEFAULT:
        return MechanismConfig
    found: type[MechanismConfig] = importlib.import_module(PACKAGE).find_mechanism(name).Config
    return found


def _one(value: Any) -> str | MechanismConfig:
    """One mechanism by its name; with its keys, where it has such."""
    given = {"name": value} if isinstance(value, str) else value
    if isinstance(given, MechanismConfig):
        given = given.model_dump()
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        wanted = "input should be a name, such as full, or a name with keys, such as {name: local, window: 128}"
        raise PydanticCustomError("attention", wanted)
    config = mechanism_config(given["name"]).model_validate(given)
    return config if len(type(config).model_fields) > 1 else config.name


def _chosen(value: Any) -> str | MechanismConfig | tuple[str | MechanismConfig, ...]:
    if not isinstance(value, list | tuple):
        return _one(value)
    if not value:
        raise PydanticCustomError("attention", "input should name at least one mechanism")
    return tuple(_one(each) for each in value)


AnyAttention = Annotated[
    SerializeAsAny[str | MechanismConfig | tuple[str | MechanismConfig, ...]], PlainValidator(_chosen)
]
"""The mechanisms of a model: one, or one for each layer, again and again."""


def mechanisms_in(section: Any) -> list[str]:
    """The names of the mechanisms that the model's section of a recipe's tree names, in order."""
    given = section.get("attention", DEFAULT) if isinstance(section, Mapping) else DEFAULT
    items = given if isinstance(given, list | tuple) else [given]
    return [str(item.get("name", DEFAULT) if isinstance(item, Mapping) else item) for item in items]


def known_keys(section: Any) -> type[MechanismConfig] | None:
    """The keys of the one mechanism that the model's section of a recipe's tree names; None where there is none, or a
    list of them."""
    names = mechanisms_in(section)
    try:
        return mechanism_config(names[0]) if len(names) == 1 else None
    except UsageError:
        return None
