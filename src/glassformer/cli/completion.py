"""What a shell offers where a command wants a recipe or a run. Nothing slow is loaded for it.

`glassformer --install-completion` sets it up for bash, zsh and fish.
"""

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

TEXTS = (".yaml", ".yml", ".txt", ".md", ".csv", ".tsv", ".json", ".jsonl", ".parquet")


def recipes(incomplete: str) -> list[str]:
    """The shipped recipes, and the files and folders that begin like this."""
    files = (resources.files("glassformer") / "recipes").iterdir()
    names = sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))
    found = [name for name in names if name.startswith(incomplete)]
    return found + [_shown(path) for path in _beginning(incomplete) if path.is_dir() or path.suffix in TEXTS]


def runs(incomplete: str) -> list[str]:
    """The runs in ./runs that begin like this, by path or by name, and other folders on the way to one."""
    here = [path for path in sorted(Path("runs").glob("*")) if (path / "recipe.yaml").is_file()]
    named = [str(path) for path in here if str(path).startswith(incomplete) or path.name.startswith(incomplete or "/")]
    others = [_shown(path) for path in _beginning(incomplete) if path.is_dir()]
    return named + [path for path in others if path.rstrip("/") not in named]


def _beginning(incomplete: str) -> Iterator[Path]:
    """What lies in the folder named so far, and begins with what is typed of its name."""
    folder, _, name = incomplete.rpartition("/")
    parent = Path(f"{folder}/") if folder or incomplete.startswith("/") else Path()
    try:
        yield from sorted(path for path in parent.iterdir() if path.name.startswith(name) and path.name[0] != ".")
    except OSError:  # no such folder, or one that may not be read
        return


def _shown(path: Path) -> str:
    return f"{path}/" if path.is_dir() and not (path / "recipe.yaml").is_file() else str(path)
