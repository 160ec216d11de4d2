"""YAML text as a tree of nodes, within bounds. Nothing is made of it here: what a scalar means, its key's type decides
(values.py). No tag is followed, and no small file can become a large tree or a deep one."""

from typing import Any, NoReturn

import yaml

from glassformer.errors import UsageError

DEEPEST = 32
"""Levels of lists and mappings in each other."""
MOST_VALUES = 20_000
"""Values in one file, those that an alias repeats counted as often as it repeats them."""
PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "seq", "map", "int", "float", "bool", "null")}


class _Composer(yaml.SafeLoader):
    """Composes nodes; no plain scalar is taken for anything but the text that it is."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  (the name and type of PyYAML's)
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """As PyYAML's, which calls itself for each level, to a certain depth."""
        self.depth += 1
        if self.depth > DEEPEST:
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, f"more than {DEEPEST} levels lie in each other", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def compose(text: str, where: str) -> yaml.Node | None:
    """The root of a YAML text, or none of an empty one. Raises UsageError with the line of a mistake."""
    try:
        composer = _Composer(text)  # refuses characters that no YAML may hold
        root = composer.get_single_node()
    except yaml.reader.ReaderError as error:
        raise UsageError(f"{where} is not YAML: {error.reason}, at character {error.position}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UsageError(f"{where} is not YAML{line}: {getattr(error, 'problem', error)}") from None
    except (ValueError, OverflowError):  # "\UFFFFFFFF", %YAML with a thousand digits: PyYAML does not foresee them
        raise UsageError(f"{where} is not YAML: an escape or a number in it is none") from None
    if root is not None:
        _check(root, where)
    return root


def _check(root: yaml.Node, where: str) -> None:
    """Raises UsageError for a tag, for a key that is no text or comes twice, for a tree that is too deep or large."""
    found = 0
    waiting = [(root, 1)]
    while waiting:
        node, depth = waiting.pop()
        found += 1
        if depth > DEEPEST:
            _refuse(node, where, f"more than {DEEPEST} levels lie in each other")
        if found > MOST_VALUES:
            _refuse(node, where, f"there are more than {MOST_VALUES:,} values, aliases (*name) followed")
        if node.tag not in PLAIN_TAGS:
            _refuse(node, where, f"the tag {node.tag.removeprefix('tag:yaml.org,2002:')!r} has no meaning in a recipe")
        if isinstance(node, yaml.MappingNode):
            _check_keys(node, where)
            waiting += [(value, depth + 1) for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            waiting += [(value, depth + 1) for value in node.value]


def _check_keys(node: yaml.MappingNode, where: str) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag not in PLAIN_TAGS:
            _refuse(key, where, "a list or a mapping cannot be a key")
        if key.value == "<<":
            _refuse(key, where, "merge keys (<<) are not read: write the keys out")
        if key.value in seen:
            _refuse(key, where, f"the key {key.value!r} is there twice")
        seen.add(key.value)


def _refuse(node: yaml.Node, where: str, what: str) -> NoReturn:
    raise UsageError(f"{where} is not YAML, line {node.start_mark.line + 1}: {what}")
