"""The recipe: everything that decides a run, in one typed configuration assembled from each part's own.

A recipe is a YAML file with a section for each part; `key=value` pairs with dotted keys change single values. A key
that does not exist is an error that names the nearest one.
"""

import importlib
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import Field, ValidationError
from pydantic_core import to_jsonable_python

from glassformer.changes import (
    ATTENTION,
    LENGTHS,
    Changes,
    apply,
    lengths_in,
    listed,
    objective_name,
    with_names_of_now,
)
from glassformer.config import Config
from glassformer.data.batch_config import BatchConfig
from glassformer.data.data_config import DataConfig
from glassformer.data.tokenizer_config import TokenizerConfig
from glassformer.errors import UsageError, nearest
from glassformer.model import attention_config
from glassformer.model.config import ModelConfig, check_sizes, preset, preset_notes, presets
from glassformer.objective_configs import PACKAGE, AnyObjective, Member, Needs, members_in, needs_of
from glassformer.plugins import check_plugin, plugin_names
from glassformer.reading import NoSuchFile, Unreadable, plain_text
from glassformer.training.config import InitFrom, OptimizerConfig, TrainingConfig
from glassformer.training.schedules import ScheduleConfig
from glassformer.values import built, section_of
from glassformer.yaml_text import compose

if TYPE_CHECKING:
    from glassformer.objectives import Objective

C = TypeVar("C", bound=Config)


class Recipe(Config):
    """Everything that decides a run."""

    description: str = Field("", description="one line for people")
    seed: int = Field(1, ge=0, lt=2**32, description="the one seed: split, order, corruption, weights, dropout")
    data: DataConfig
    tokenizer: TokenizerConfig = TokenizerConfig()
    target_tokenizer: TokenizerConfig | None = Field(
        None, description="a tokenizer of their own for the targets of pairs; None: one for both sides"
    )
    objective: AnyObjective
    model: ModelConfig = ModelConfig()
    init_from: InitFrom | None = Field(None, description="weights to begin with; None: random ones")
    batch: BatchConfig = BatchConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    training: TrainingConfig = TrainingConfig()


KINDS = "glassformer.model.kinds"
"""The folder in which every file is a kind of model."""


class Key(NamedTuple):
    """One key of a recipe, for people."""

    name: str
    type: str
    default: Any
    meaning: str


def parse(tree: dict[str, Any], where: str = "the recipe") -> Recipe:
    """A recipe from plain data; an empty section has its defaults. Raises UsageError naming each wrong key or value,
    and the nearest right key."""
    recipe = _with_family(check_values(tree, where))
    check_sizes(recipe.model)
    _check_length(recipe)
    return recipe


def check_values(tree: dict[str, Any], where: str = "the recipe") -> Recipe:
    """The recipe as it stands, with every key and value right by itself: what must fit together is not looked at.
    Raises UsageError naming each wrong key or value, and the nearest right key."""
    tree = {"objective": {"name": "masked_lm"}} | {key: value for key, value in tree.items() if value is not None}
    tree = _with_preset(with_names_of_now(tree))
    try:
        recipe = Recipe.model_validate(tree)
    except ValidationError as error:
        raise UsageError(f"{where} is wrong: " + "; ".join(_explain(tree, error.errors()))) from None
    check_plugin(KINDS, recipe.model.kind, "kind of model")
    return recipe


def section(kind: type[C], given: Any, name: str) -> C:
    """One section of a recipe from plain data. Raises UsageError for a wrong key or value."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join([name, *map(str, first["loc"])])
        raise UsageError(f"{where} is wrong: {first['msg'].lower()}", "see `glassformer recipes mlm-demo`") from None


RESOLVED = {"family", "n_layers", "output_dropout", "share_layers", "segments", "shared_embeddings"}
"""Keys that every run's recipe has, and no person writes all of."""


def _with_preset(tree: dict[str, Any]) -> dict[str, Any]:
    """The parts of the preset that the model's section names, below its own keys. The section of a run says everything:
    keys that came later have their defaults there, since it was trained so, and not what the preset says by now."""
    section = tree.get("model")
    if not isinstance(section, dict) or section.get("preset") is None or section.keys() >= RESOLVED:
        return tree
    return tree | {"model": preset(str(section["preset"])) | section}


def _with_family(recipe: Recipe) -> Recipe:
    """The stacks and segments that the objective needs, where the recipe leaves them open."""
    kinds = [_needs(member) for member in members(recipe)]
    families = [kind.family for kind in kinds]
    stacks = {kind.family == "encoder_decoder": member for kind, member in zip(kinds, members(recipe), strict=True)}
    if len(stacks) > 1:
        two, one = (stacks[pair].objective.model_dump()["name"] for pair in (True, False))
        raise UsageError(
            f"{two} needs an encoder and a decoder, and {one} in the same mixture one stack",
            "mix objectives that need the same, or train a model of each",
        )
    family = next((f for f in ("encoder_decoder", "decoder") if f in families), "encoder")
    needed = {"family": family, "segments": max(kind.segments for kind in kinds)}
    still_open = {key: value for key, value in needed.items() if getattr(recipe.model, key) is None}
    return recipe.model_copy(update={"model": recipe.model.model_copy(update=still_open)})


def objective_class(recipe: Recipe) -> "type[Objective]":
    """The class of the recipe's objective; it is loaded here, and torch with it."""
    kind: type[Objective] = importlib.import_module("glassformer.objectives").find_objective(
        recipe.model_dump()["objective"]["name"]
    )
    return kind


def _needs(recipe: Recipe) -> Needs:
    """What the recipe's objective needs."""
    return needs_of(recipe.model_dump()["objective"]["name"])


def members(recipe: Recipe) -> list[Recipe]:
    """The recipe as one for each objective of its mixture, with that one's data; itself, where there is one only."""
    found = members_in(recipe.objective)
    if not found:
        return [recipe]
    return [recipe.model_copy(update={"objective": m.objective, "data": m.data or recipe.data}) for m in found]


def _check_length(recipe: Recipe) -> None:
    """A run is as long as steps, epochs or minutes say: one of them."""
    _refuse_two([name for name in LENGTHS if getattr(recipe.training, name) is not None])


def _refuse_two(lengths: list[str]) -> None:
    if len(lengths) > 1:
        raise UsageError(f"training.{lengths[0]} and training.{lengths[1]} are both given", "keep one of them")


EXPECTED = {
    "int_parsing": "input should be a valid integer in decimal digits, such as 16",
    "int_type": "input should be a valid integer in decimal digits, such as 16",
    "float_parsing": "input should be a valid number in decimal digits, such as 0.5 or 1e-3",
    "float_type": "input should be a valid number in decimal digits, such as 0.5 or 1e-3",
    "bool_parsing": "input should be true or false",
    "bool_type": "input should be true or false",
}
"""How a value is written that is none of its key's."""


def _explain(tree: dict[str, Any], errors: Sequence[Any]) -> list[str]:
    """Pydantic's errors, one line for each wrong key: what was given, what would be right."""
    names = [key.name for key in keys(tree)]
    known = {*names, *Recipe.model_fields}
    below = {tuple(error["loc"][:n]) for error in errors for n in range(len(error["loc"]))}
    unknown: list[str] = []
    wrong: dict[str, tuple[Any, list[str]]] = {}
    for error in errors:
        loc = [str(part) for part in error["loc"]]
        key = ".".join(loc)
        if error["type"] == "too_short" and tuple(error["loc"]) in below:
            continue  # of a list only those count that are right themselves
        in_member = _keys_of_member(tree, error["loc"])
        known |= set(in_member)
        if error["type"] == "extra_forbidden":
            unknown.append(f"there is no key {key!r}; {_nearest_key(key, in_member or names)}")
        elif error["type"] == "missing":
            unknown.append(f"{key} is missing")
        else:  # a key of several types has an error for each, below it
            ends = [n for n in range(1, len(loc) + 1) if ".".join(loc[:n]) in known]
            key = ".".join(loc[: ends[-1]]) if ends else key
            wrong.setdefault(key, (error["input"], []))[1].append(EXPECTED.get(error["type"]) or error["msg"].lower())
    return unknown + [
        f"{key}={given!r}: {' or '.join([expected[0], *(e.removeprefix('input should be ') for e in expected[1:])])}"
        for key, (given, expected) in wrong.items()
    ]


def _keys_of_member(tree: dict[str, Any], loc: Sequence[int | str]) -> list[str]:
    """The keys and sections of the member of a mixture that holds the place `loc`; none elsewhere."""
    if tuple(loc[:2]) != ("objective", "members") or len(loc) < 4:
        return []
    section = tree["objective"]["members"][loc[2]].get("objective")
    name = section.get("name", "masked_lm") if isinstance(section, dict) else "masked_lm"
    prefix = f"objective.members.{loc[2]}."
    keys = [key.name for key in _keys_of(Member, prefix, needs_of(str(name)).config)]
    return [*keys, *(prefix + section for section in Member.model_fields)]


def _nearest_key(key: str, names: Sequence[str]) -> str:
    """The key of that name in another section, or the one spelt most alike; a misspelt section is a section."""
    same_leaf = [name for name in names if name.split(".")[-1] == key.split(".")[-1]]
    if same_leaf:
        return f"did you mean {same_leaf[0]!r}?"
    return nearest(key, names if "." in key else [*names, *Recipe.model_fields])


def keys(tree: dict[str, Any] | None = None) -> list[Key]:
    """Every key with type, default and meaning; `tree` decides which objective's keys there are, and which attention
    mechanisms'."""
    found: list[Key] = []
    for key in _keys_of(Recipe, "", needs_of(objective_name(tree or {})).config):
        found.append(key)
        if key.name == ATTENTION:
            found += _keys_of_mechanisms((tree or {}).get("model"))
    return found


def _keys_of_mechanisms(section: Any) -> list[Key]:
    """The keys of the attention mechanisms that the model's section names, beside their names."""
    known = plugin_names(attention_config.PACKAGE)
    configs = [attention_config.mechanism_config(n) for n in attention_config.mechanisms_in(section) if n in known]
    found = {key.name: key for config in configs for key in _keys_of(config, f"{ATTENTION}.", Config)}
    return [key for name, key in found.items() if name != f"{ATTENTION}.name"]


def _keys_of(config: type[Config], prefix: str, objective: type[Config]) -> Iterator[Key]:
    for name, field in config.model_fields.items():
        section = objective if name == "objective" else section_of(field.annotation)
        if prefix + name == ATTENTION:  # also a plain name
            section = None
        if section is not None:
            yield from _keys_of(section, f"{prefix}{name}.", objective)
        else:
            default = "(needed)" if field.is_required() else field.get_default(call_default_factory=True)
            kind = " | ".join(map(repr, _names(prefix + name))) or _type_name(field.annotation)
            kind = kind.replace("'", '"') + (" | None" if prefix + name == "model.preset" else "")
            yield Key(prefix + name, kind, to_jsonable_python(default), field.description or "")


def _names(key: str) -> list[str]:
    """What there is to be named, where a key names a file of a folder, or a preset."""
    if key == "objective.name":
        return plugin_names(PACKAGE)
    if key == ATTENTION:
        return plugin_names(attention_config.PACKAGE)
    if key == "model.kind":
        return plugin_names(KINDS)
    return sorted(presets()) if key == "model.preset" else []


def _type_name(kind: Any) -> str:
    """A type as people write it: `int | None`, `"pre" | "post"`."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _type_name(parts[0])
    if origin in (Union, UnionType):
        return " | ".join(_type_name(part) for part in parts)
    if origin is Literal:
        return " | ".join(f'"{part}"' for part in parts)
    if kind is NoneType:
        return "None"
    if origin is tuple and parts[-1] is ...:
        return f"tuple[{_type_name(parts[0])}, ...]"
    return kind.__name__ if isinstance(kind, type) and not parts else str(kind)


def shipped() -> list[str]:
    """The names of the recipes that come with the package."""
    folder = resources.files("glassformer") / "recipes"
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


Completing = Callable[[dict[str, Any], Changes], dict[str, Any]]


def read(name_or_file: str, changes: Changes = (), completed: Completing | None = None) -> Recipe:
    """A shipped recipe or a YAML file, with changes; `completed`: see `with_changes`. Raises UsageError."""
    return with_changes(read_tree(name_or_file), changes, f"recipe {name_or_file}", completed)


def preset_tree(name: str) -> dict[str, Any] | None:
    """The tree of a preset alone; None where there is none of that name. Raises UsageError for a known model that has
    none here, saying why."""
    if name not in presets() and name not in preset_notes():
        return None
    return {"data": {"train": "mine.txt"}, "model": {"preset": name, **preset(name)}}


def read_tree(name_or_file: str) -> dict[str, Any]:
    """A shipped recipe or a YAML file as plain data."""
    if name_or_file in shipped():
        text = (resources.files("glassformer") / "recipes" / f"{name_or_file}.yaml").read_text(encoding="utf-8")
    elif Path(name_or_file).suffix in (".yaml", ".yml"):
        text = read_text(Path(name_or_file))
    else:
        raise UsageError(f"there is no recipe or file {name_or_file!r}", nearest(name_or_file, shipped()))
    return from_yaml(text, name_or_file)


LARGEST = 200_000
"""Bytes of a recipe. Those that people write have a few thousand."""


def read_text(file: Path) -> str:
    """A recipe's file. Raises UsageError for one that is missing, no plain file, too large, or not UTF-8."""
    try:
        return plain_text(file, LARGEST, "recipe").removeprefix("\ufeff")
    except NoSuchFile:
        raise UsageError(f"there is no file {file}") from None
    except Unreadable as error:
        raise UsageError(error.what, error.mend) from None


def from_yaml(text: str, where: str) -> dict[str, Any]:
    """YAML text as plain data, each value by the type of its key. Raises UsageError with the line of a mistake."""
    root = compose(text, where)
    if not isinstance(root, yaml.MappingNode):
        raise UsageError(f"{where} is not a recipe: its top level has no sections", "see `glassformer recipes`")
    return dict(built(root, Recipe))


def to_yaml(recipe: Recipe) -> str:
    """The recipe with every value, as it is saved in a run."""
    tree = recipe.model_dump(mode="json")
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    # PyYAML writes a few rare line breaks (U+0085) in a way that it does not read back: those are escaped.
    return text if yaml.safe_load(text) == tree else yaml.safe_dump(tree, sort_keys=False)


def apply_changes(tree: dict[str, Any], changes: Changes) -> dict[str, Any]:
    """A copy of a recipe's `tree` with changes: dotted `key=value` texts, or a mapping. Raises UsageError."""
    return apply(Recipe, tree, changes)


def with_changes(
    tree: dict[str, Any], changes: Changes, where: str = "the recipe", completed: Completing | None = None
) -> Recipe:
    """A recipe from plain data and changes; `completed` fills in what the changed tree leaves open (see `init_from`).
    Raises UsageError, also for other data that nobody would read: those of a mixture whose members all have data of
    their own."""
    changed = apply_changes(tree, changes)
    recipe = parse(changed if completed is None else completed(changed, changes), where)
    unread = [str(change) for change in listed(changes) if change.key.startswith("data.")]
    if unread and not reads_data(recipe):
        names = ", ".join(member.name for member in members_in(recipe.objective))
        raise UsageError(
            f"{unread[0]!r} would be read by nobody: {names} have data of their own",
            "say it in the recipe: `data` of a member, in objective.members",
        )
    return recipe


def reads_data(recipe: Recipe) -> bool:
    """Whether the section `data` is read: the members of a mixture may all have one of their own."""
    return any(member.data is recipe.data for member in members(recipe))


def refuse_two_lengths(changes: Changes) -> None:
    """Of the lengths that are given in one breath each would replace the other. Raises UsageError for two of them."""
    _refuse_two(lengths_in(changes))


def with_value(recipe: Recipe, key: str, value: Any) -> Recipe:
    """A copy with one dotted key changed. Raises UsageError for a key that there is not."""
    if value is None and key in {k.name for k in keys(recipe.model_dump())} and value_of(recipe, key) is None:
        return recipe  # also where the whole section is left out
    tree = recipe.model_dump(mode="json")
    *path, leaf = key.split(".")
    section = tree
    for name in path:
        if section.get(name) is None:
            section[name] = {}
        section = section[name]
    section[leaf] = value
    return parse(tree)


def value_of(recipe: Recipe, key: str) -> Any:
    """The value at a dotted key."""
    value: Any = recipe.model_dump(mode="json")
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None  # none of a section that is left out
    return value
