"""The one place that reads files: what is whole comes back, and whatever is not is said in a line, soon and in little
memory."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from glassformer.errors import GlassformerError, UsageError
from glassformer.reading import (
    NoSuchFile,
    Saved,
    Stored,
    Unreadable,
    checked,
    json_object,
    json_value,
    npz_arrays,
    plain_bytes,
    plain_text,
    safetensors_header,
)


def reason(error: pytest.ExceptionInfo[Unreadable]) -> str:
    assert "\n" not in error.value.what
    return error.value.reason


# ------------------------------------------------------------------------------------------------- plain files


def test_a_plain_file_and_a_link_to_one_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("a")
    assert plain_bytes(tmp_path / "a", 3) == plain_bytes(tmp_path / "link", 3) == b"abc"
    assert plain_text(tmp_path / "a") == "abc"


def test_what_is_no_plain_file_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for file in (tmp_path / "pipe", tmp_path / "link", tmp_path, Path("/dev/zero")):
        with pytest.raises(Unreadable, match="is no plain file"):
            plain_bytes(file)


def test_a_missing_file_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    for file in (tmp_path / "none", tmp_path / "a" / "below"):
        with pytest.raises(NoSuchFile, match="is missing") as error:
            plain_bytes(file)
        assert isinstance(error.value, UsageError)
        assert error.value.exit_code == 2
    for file in (tmp_path / "loop", Path("nul\0"), tmp_path / ("x" * 5000)):
        with pytest.raises(GlassformerError, match="cannot be read"):
            plain_bytes(file)


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with open(tmp_path / "large", "wb") as file:
        file.truncate(10**12)  # a hole: it takes no room
    with pytest.raises(Unreadable, match=r"has 1,000,000,000,000 bytes, and a recipe has at most 7") as error:
        plain_bytes(tmp_path / "large", 7, "recipe")
    assert "give a recipe" in error.value.mend


def test_text_that_is_no_utf_8(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"ab\xff")
    with pytest.raises(Unreadable, match="byte 2 is wrong"):
        plain_text(tmp_path / "a")


# ------------------------------------------------------------------------------------------------------- JSON


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", '{"a": 1', "[1, 2]", "null", "NaN", '{"a": NaN}', '{"a": -Infinity}', '{"a": \xff}'),
        *('{"a": "\\ud800"}', '{"\\udc00": 1}'),
        *('{"a": ' + "9" * 5000 + "}", '{"a": 1e999}', '{"a": 9999999999999999999}'),
        '{"a": ' * 40 + "1" + "}" * 40,
        '{"a": ' + "[" * 10**6,
    ],
)
def test_damaged_json_is_said_in_a_line(tmp_path: Path, content: str) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(Unreadable, match="is damaged") as error:
        json_object(file)
    assert len(reason(error)) < 300


def test_whole_json_comes_back(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True, {"ä": "\U0001f600"}], "b": {"c": -(10**17)}}
    for ascii in (True, False):
        (tmp_path / "a").write_text(json.dumps(value, ensure_ascii=ascii))
        assert json_object(tmp_path / "a") == value
    assert json_value(b"[Infinity]", tmp_path, constants=True) == [float("inf")]


def test_depth_is_bounded_where_it_is_said(tmp_path: Path) -> None:
    assert json_value("[[[]]]", tmp_path, depth=2) == [[[]]]
    with pytest.raises(Unreadable, match="deeper than 1 levels"):
        json_value("[[[]]]", tmp_path, depth=1)


class Sizes(Saved):
    width: int
    names: dict[str, list[str]]


def test_types_are_checked_and_not_converted(tmp_path: Path) -> None:
    assert checked(Sizes, {"width": 3, "names": {"a": []}, "new": 1}, tmp_path).width == 3
    wrong: list[tuple[Any, str]] = [
        ({"width": "3", "names": {}}, "width: input should be a valid integer"),
        ({"width": True, "names": {}}, "width"),
        ({"names": {}}, "width: field required"),
        ({"width": 3, "names": {"a": [1]}}, "names.a.0"),
        ([], "should be a valid dictionary"),
    ]
    for value, said in wrong:
        with pytest.raises(Unreadable, match=said):
            checked(Sizes, value, tmp_path)


# ------------------------------------------------------------------------------------------------ numpy's .npz


def test_arrays_come_back(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(6, dtype=np.uint8).reshape(2, 3),
        "b/c": np.asfortranarray(np.arange(6.0).reshape(3, 2)),
        "none": np.zeros((0, 4), dtype=np.float32),
        "one": np.array(3),
    }
    np.savez_compressed(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("said.json", "{}")
    found, said = npz_arrays(tmp_path / "a.npz", texts=frozenset({"said.json"}))
    assert said == {"said.json": b"{}"}
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


def npy(header: str, content: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + content


@pytest.mark.parametrize(
    "member",
    [
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }\n", bytes(8)),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }\n", bytes(8)),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", bytes(8)),
        npy("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,), }\n", bytes(8)),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': 3, }\n", bytes(8)),
        npy("(" * 2000),
        npy("x()\n"),
        b"",
        b"\x93NUMPY\x09\x00",
    ],
    ids=["too large", "negative", "objects", "fields", "shape", "nested", "call", "empty", "version"],
)
def test_an_array_that_is_not_what_its_header_says(tmp_path: Path, member: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", member)
    with pytest.raises(Unreadable, match="is damaged"):
        npz_arrays(tmp_path / "a.npz")


def test_what_would_unpack_to_too_much_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(10**6))
    assert (tmp_path / "a.npz").stat().st_size < 10_000
    with pytest.raises(Unreadable, match="would unpack to 1,000,000 bytes, and at most 10,000"):
        npz_arrays(tmp_path / "a.npz", 10_000)


def test_every_cut_and_every_flipped_byte_of_an_npz_is_read_or_said(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", a=np.arange(5), b=np.ones((2, 3), np.float32))
    whole = (tmp_path / "a.npz").read_bytes()
    damaged = [whole[:n] for n in range(0, len(whole), 7)]
    damaged += [whole[:n] + bytes([whole[n] ^ 0x55]) + whole[n + 1 :] for n in range(0, len(whole), 3)]
    said = 0
    for content in damaged:
        (tmp_path / "b.npz").write_bytes(content)
        try:
            npz_arrays(tmp_path / "b.npz")
        except Unreadable as error:
            assert "\n" not in error.reason
            said += 1
    assert said > len(damaged) / 2
    assert np.array_equal(npz_arrays(tmp_path / "a.npz")[0]["a"], np.arange(5))


# ------------------------------------------------------------------------------------------------- safetensors


def safetensors(header: Any, content: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + content


def test_the_header_says_what_is_in_the_file(tmp_path: Path) -> None:
    tensors = {
        "a": torch.zeros(2, 3),
        "b": torch.zeros(5, dtype=torch.bfloat16),
        "c": torch.tensor(3),
    }
    save_file(tensors, tmp_path / "a", metadata={"format": "pt"})
    assert safetensors_header(tmp_path / "a") == {
        "a": Stored("F32", (2, 3)),
        "b": Stored("BF16", (5,)),
        "c": Stored("I64", ()),
    }
    assert Stored("F32", (2, 3)).size == 6


def one(**changes: Any) -> dict[str, Any]:
    return {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | changes}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234567",
        safetensors(one(), bytes(4), length=10**15),
        safetensors(b"{", bytes(4)),
        safetensors([], bytes(4)),
        safetensors({"a": 3}, bytes(4)),
        safetensors(one(dtype="C64"), bytes(4)),
        safetensors(one(dtype="a\n\x1b[2J"), bytes(4)),
        safetensors({"a\n": one()["a"]}, bytes(4)),
        safetensors(one(dtype=["F32"]), bytes(4)),
        safetensors(one(shape=[2]), bytes(4)),
        safetensors(one(shape=[10**30]), bytes(4)),
        safetensors(one(shape=[-1, -1]), bytes(4)),
        safetensors(one(shape=[1] * 9), bytes(4)),
        safetensors(one(shape=[1.0]), bytes(4)),
        safetensors(one(data_offsets=[0, 8], shape=[2]), bytes(4)),
        safetensors(one(data_offsets=[4, 0]), bytes(4)),
        safetensors(one(data_offsets=[0]), bytes(4)),
        safetensors(b'{"a": ' + b"[" * 10**5, bytes(4)),
    ],
)
def test_a_header_that_does_not_fit_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(Unreadable, match="is damaged") as error:
        safetensors_header(tmp_path / "a")
    assert error.value.what.isprintable()


def test_a_header_longer_than_any_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "a", "wb") as file:
        file.write((10**11).to_bytes(8, "little"))
        file.truncate(10**12)
    with pytest.raises(Unreadable, match="100,000,000,000 bytes, and a header has at most"):
        safetensors_header(tmp_path / "a")
