"""What files hold is remembered; a change is noticed, and nothing is remembered that may have changed unseen."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

from glassformer.data import contents
from glassformer.data.files import files_of
from glassformer.data.sources import fingerprint
from glassformer.errors import UsageError

OPENED: list[str] = []


def _hook(event: str, arguments: tuple) -> None:
    if event == "open" and isinstance(arguments[0], str):
        OPENED.append(arguments[0])


sys.addaudithook(_hook)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hundred files, written a minute ago."""
    monkeypatch.setenv("GLASSFORMER_CACHE", str(tmp_path / "cache"))
    for number in range(100):
        file = tmp_path / "texts" / f"{number % 7}" / f"{number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"text {number}")
    a_minute_later(monkeypatch)
    return tmp_path / "texts"


def a_minute_later(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns() + 60 * 10**9
    monkeypatch.setattr(contents.time, "time_ns", lambda: now)


def opened(folder: Path) -> list[str]:
    """The files of a folder that are opened while its fingerprint is taken."""
    OPENED.clear()
    fingerprint(str(folder))
    return [path for path in OPENED if path.startswith(str(folder))]


def test_the_second_time_no_file_is_opened(folder: Path) -> None:
    """And the fingerprint is the one of a computer that remembers nothing."""
    assert len(opened(folder)) == 100
    first = fingerprint(str(folder))
    assert opened(folder) == []
    for index in (contents.cache_folder() / "fingerprints").iterdir():
        index.unlink()
    assert fingerprint(str(folder)) == first


@pytest.mark.parametrize("change", ["size", "time", "contents", "replaced"])
def test_a_change_is_noticed_and_only_that_file_is_read_again(
    folder: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that keeps size and time of the contents, as `cp --preserve` does."""
    first, file = fingerprint(str(folder)), folder / "3" / "3.txt"
    before = file.stat()
    if change == "replaced":
        (folder / "new").write_text("text 4")
        (folder / "new").replace(file)
    elif change != "time":
        file.write_text("text 33" if change == "size" else "text 4")
    if change in ("contents", "replaced"):
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    if change == "time":
        os.utime(file, ns=(0, 0))
    a_minute_later(monkeypatch)
    assert opened(folder) == [str(file)]
    assert (fingerprint(str(folder)) == first) == (change == "time")
    assert opened(folder) == []


def test_a_file_that_was_just_written_is_not_remembered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents.time, "time_ns", lambda: (folder / "0" / "0.txt").stat().st_mtime_ns + 10**9)
    assert len(opened(folder)) == 100
    assert len(opened(folder)) == 100


@pytest.mark.parametrize("damage", ["{", "[]", '{"version": 1, "files": 3}', '{"version": 9}', "\x00"])
def test_a_damaged_index_is_made_anew(folder: Path, damage: str) -> None:
    first = fingerprint(str(folder))
    (index,) = (contents.cache_folder() / "fingerprints").iterdir()
    index.write_text(damage)
    assert fingerprint(str(folder)) == first
    described = json.loads(index.read_text())
    described["files"] = {path: [*entry[:-1], "g" * 64] for path, entry in described["files"].items()}
    index.write_text(json.dumps(described))
    assert fingerprint(str(folder)) == first
    assert opened(folder) == []


def test_a_cache_that_cannot_be_written_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fingerprint(str(folder))
    (folder.parent / "file").touch()
    monkeypatch.setenv("GLASSFORMER_CACHE", str(folder.parent / "file"))
    assert fingerprint(str(folder)) == first


def test_a_file_that_goes_away_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.txt cannot be read: No such file"):
        contents.digests("gone.txt", [tmp_path / "gone.txt"], tmp_path)


def test_a_folder_is_listed_in_the_order_of_paths(tmp_path: Path) -> None:
    """Folders and files by their names, part by part; hidden ones left out, links to folders not followed."""
    for name in ("b/a.txt", "b.txt", "a/z.txt", "a/b/c.txt", "a.txt", ".git/x.txt", "a/.hidden.txt", "c.bin"):
        (tmp_path / "t" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "t" / name).write_text(name)
    (tmp_path / "t" / "link").symlink_to(tmp_path / "t" / "a")
    (tmp_path / "t" / "d.txt").symlink_to(tmp_path / "t" / "a.txt")
    files = files_of(str(tmp_path / "t"))
    slow = sorted(p for p in (tmp_path / "t").rglob("*.txt") if p.is_file())
    assert files == [p for p in slow if not any(part.startswith(".") for part in p.relative_to(tmp_path).parts)]
