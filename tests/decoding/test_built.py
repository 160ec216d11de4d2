"""The library that is compiled and kept: one that is damaged, or that others could have put there, is never loaded, and
nothing is waited for. With a library of one function, which is built at once."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from glassformer.decoding import built

SOURCE = b"int answer(void) { return 42; }"
COMPILER = next(filter(shutil.which, ("cc", "gcc", "clang")), None)
COMMAND = [COMPILER or "cc", "-shared", "-fPIC", "-x", "c", "-"]

pytestmark = pytest.mark.skipif(COMPILER is None, reason="this machine has no C compiler")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a whole library is kept."""
    file = tmp_path / "cache" / "compiled" / "step-a.so"
    built.kept(file, SOURCE, COMMAND)
    return file


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Has an entry for each time that something is built."""
    done, build = list[int](), built.build

    def counted(source: bytes, command: list[str]) -> bytes:
        done.append(1)
        return build(source, command)

    monkeypatch.setattr(built, "build", counted)
    return done


def answer(content: bytes) -> int:
    return built.loaded(content, "step-a.so").answer()


def test_it_is_kept_for_its_owner_alone(file: Path, builds: list[int]) -> None:
    content = built.kept(file, SOURCE, COMMAND)
    assert answer(content) == 42
    assert not builds
    assert {stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_two_libraries_of_one_process_are_two() -> None:
    made = [built.build(b"int answer(void) { return %d; }" % number, COMMAND) for number in (1, 2)]
    assert [answer(content) for content in made] == [1, 2]


def test_without_memory_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    assert answer(built.build(SOURCE, COMMAND)) == 42


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:1000])


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def hash_is_another(file: Path) -> None:
    built.hash_file(file).write_text("0" * 64)


def others_may_write_it(file: Path) -> None:
    file.chmod(0o620)


def a_pipe_is_in_its_place(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def a_pipe_is_in_the_place_of_its_hash(file: Path) -> None:
    built.hash_file(file).unlink()
    os.mkfifo(built.hash_file(file))


def a_link_is_in_its_place(file: Path) -> None:
    other = shutil.copy(file, file.parent.parent / "elsewhere")
    file.unlink()
    file.symlink_to(other)


DAMAGES = [cut, flip_a_bit, hash_is_another, others_may_write_it, a_pipe_is_in_its_place, a_link_is_in_its_place]
DAMAGES += [a_pipe_is_in_the_place_of_its_hash, lambda file: file.write_bytes(b""), Path.unlink]
DAMAGES += [lambda file: built.hash_file(file).unlink(), lambda file: built.hash_file(file).write_bytes(b"")]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_one_that_is_not_whole_or_not_ours_is_made_anew(file: Path, builds: list[int], damage, capsys) -> None:
    damage(file)
    assert answer(built.kept(file, SOURCE, COMMAND)) == 42
    assert len(builds) == 1
    assert answer(built.kept(file, SOURCE, COMMAND)) == 42
    assert len(builds) == 1  # what was wrong has been replaced
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_folder_that_others_may_write_is_not_loaded_from(file: Path, builds: list[int], mode: int, capsys) -> None:
    """Whoever may write there may replace library and hash alike."""
    evil = built.build(b"int answer(void) { return 13; }", COMMAND)
    file.write_bytes(evil)
    built.hash_file(file).write_bytes(built.hash_of(evil))
    file.parent.chmod(mode)
    builds.clear()
    assert answer(built.kept(file, SOURCE, COMMAND)) == 42
    assert len(builds) == 1
    assert "others may write" in capsys.readouterr().err
    assert file.read_bytes() == evil  # and not written to


def test_nor_one_below_a_folder_that_all_may_write(file: Path, builds: list[int], capsys) -> None:
    above = file.parent.parent
    above.chmod(0o777)
    built.kept(file, SOURCE, COMMAND)
    assert len(builds) == 1
    assert f"all may write {above}" in capsys.readouterr().err
    above.chmod(0o1777)  # as /tmp is: nobody may rename what is another's
    built.kept(file, SOURCE, COMMAND)
    assert len(builds) == 1


def test_nor_one_of_another_owner(file: Path, builds: list[int], monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    built.kept(file, SOURCE, COMMAND)
    assert len(builds) == 1
    assert "another user owns" in capsys.readouterr().err


def test_a_link_in_the_place_of_the_folder(file: Path, builds: list[int], tmp_path: Path, capsys) -> None:
    file.parent.rename(tmp_path / "elsewhere")
    file.parent.symlink_to(tmp_path / "elsewhere")
    built.kept(file, SOURCE, COMMAND)
    assert len(builds) == 1
    assert "not what it should be" in capsys.readouterr().err


def test_what_is_built_reaches_the_disk_before_it_has_its_name(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = list[str]()
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: done.append("fsync") or fsync(descriptor))
    monkeypatch.setattr(os, "replace", lambda a, b: done.append("replace") or replace(a, b))
    file.unlink()
    built.kept(file, SOURCE, COMMAND)
    assert done == ["fsync", "replace", "fsync"] * 2


def test_processes_that_build_at_the_same_time(tmp_path: Path) -> None:
    file = tmp_path / "cache" / "compiled" / "step-a.so"
    program = (
        "import sys; from pathlib import Path; from glassformer.decoding import built; print(flush=True); input()\n"
        f"content = built.kept(Path({str(file)!r}), {SOURCE!r}, {COMMAND!r})\n"
        "print(built.loaded(content, 'step-a.so').answer())"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdin is not None
        other.stdout.readline()
        other.stdin.write(b"\n")
        other.stdin.flush()
        assert answer(built.kept(file, SOURCE, COMMAND)) == 42
        assert other.communicate(timeout=60)[0].strip() == b"42"
    assert built.whole(file) is not None
    assert len(list(file.parent.iterdir())) == 2


def test_a_compiler_that_fails_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "cache" / "compiled" / "step-a.so"
    for command in (["false"], ["true"], ["no-such-compiler"]):
        with pytest.raises((OSError, subprocess.SubprocessError)):
            built.kept(file, SOURCE, command)
    assert not list(file.parent.iterdir())
