"""What stands in the place of a recipe: a recipe's name, a YAML file, a text of the person's own, or a change.

What is wrong in the words of a command is refused here, before anything is loaded that takes time.
"""

import re
from pathlib import Path
from typing import Any

from glassformer import recipe as recipes
from glassformer.changes import Changes, as_recorded, listed
from glassformer.errors import UsageError

TEXT_SUFFIXES = (".txt", ".jsonl", ".json", ".csv", ".tsv", ".parquet", ".md")


def is_own_text(name: str) -> bool:
    """Whether RECIPE is no recipe but a text: an existing folder, a glob, or a file that is not YAML."""
    path = Path(name)
    if name in recipes.shipped() or path.suffix in (".yaml", ".yml"):
        return False
    looks_like_a_file = path.suffix in TEXT_SUFFIXES or "/" in name
    return path.exists() or name.startswith(("hub:", "builtin:")) or "*" in name or looks_like_a_file


def is_change(recipe: object) -> bool:
    """Whether what stands in the place of a recipe is a change to one, and no file of such a name."""
    return isinstance(recipe, str) and bool(re.match(r"[a-z_]+(\.[a-z_]+)*=", recipe)) and not Path(recipe).exists()


def text_among_changes(recipe: str, changes: Changes) -> tuple[str, Changes]:
    """The recipe and the changes to it, where perhaps a change stands first and no recipe is named: then `data.train`
    is a text of the person's own. Raises UsageError where none is named either."""
    if not is_change(recipe):
        return recipe, changes
    changes = [recipe, *as_recorded(changes)]
    text = {change.key: change.value for change in listed(changes)}.get("data.train")
    if not isinstance(text, str):
        raise UsageError(
            f"{recipe} is a change to a recipe, and no recipe is named before it",
            "name a recipe or a text of your own first; `glassformer recipes` lists the recipes",
        )
    return text, changes


def which_recipe() -> UsageError:
    """The error where none is named."""
    return UsageError("which recipe?", "name a recipe, a YAML file or a text; `glassformer recipes` lists them")


def run_name(source: str) -> str:
    """A folder's name for what is trained on: the file's or folder's own, without what has a meaning in paths."""
    name = re.sub(r"[^\w.-]+", "-", Path(source).stem).strip(".-")
    return name or "text"


def check_words(recipe: str, changes: Changes) -> None:
    """Raises the UsageError that training by these words would raise for a name, a key or a value, in a moment. What a
    text is, and what is chosen for it, is seen later."""
    name, changes = text_among_changes(recipe, changes)
    recipes.refuse_two_lengths(changes)
    if is_own_text(name):
        tree: dict[str, Any] = {"data": {"train": name}}
        recipes.check_values(recipes.apply_changes(tree, changes), f"the recipe for {name}")
    else:
        recipes.read(name, changes)
