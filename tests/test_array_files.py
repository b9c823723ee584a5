"""What an `.npz` may do to its reader: nothing but be refused, at once and in one line."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from edgemate.array_files import open_arrays, read_arrays
from edgemate.limits import ARCHIVE_MEMBERS

FLOATS = hnp.floating_dtypes(sizes=(16, 32, 64))
DTYPES = hnp.integer_dtypes() | hnp.unsigned_integer_dtypes() | FLOATS | hnp.boolean_dtypes()
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))


def member(array: np.ndarray, **changes: Any) -> bytes:
    """The array as numpy writes it, with `changes` in its header."""
    header = {
        "descr": np.lib.format.dtype_to_descr(array.dtype),
        "fortran_order": False,
        "shape": array.shape,
        **changes,
    }
    target = io.BytesIO()
    np.lib.format.write_array_header_1_0(target, header)
    return target.getvalue() + array.tobytes()


def written(path: Path, content: bytes, name: str = "x.npy", method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(name, content)
    return path


def with_bytes(path: Path, at: Callable[[bytes], int], new: bytes) -> Path:
    content = bytearray(path.read_bytes())
    place = at(bytes(content))
    content[place : place + len(new)] = new
    path.write_bytes(content)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        read_arrays(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


@given(
    array=hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)), compress=st.booleans()
)
def test_what_numpy_writes_is_read_as_numpy_reads_it(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, compress: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.npz"
    for layout in (array, np.asfortranarray(array)):
        (np.savez_compressed if compress else np.savez)(path, x=layout, other=np.arange(3))
        with open_arrays(path) as archive:
            header = archive.header("x")
            found = archive.read("x")
            offset = archive.offset("x")
        assert (header.dtype, header.shape) == (layout.dtype, layout.shape)
        np.testing.assert_array_equal(found, layout)
        assert found.dtype == array.dtype
        assert (offset is None) == compress
        if offset is not None:
            content = path.read_bytes()[offset : offset + array.nbytes]
            assert content == layout.tobytes(order="A")
    assert list(read_arrays(path, ["other", "none"])) == ["other"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (5 << 30,)}, "its header states 21,474,836,480 bytes, and 12 are stored"),
        ({"shape": (10**400,)}, "its header states"),
        ({"shape": (-3,)}, "shape"),
        ({"shape": (1 << 62, 1 << 62)}, "its header states"),
        ({"descr": "|O"}, "is of dtype object; numbers or text are required"),
        ({"descr": [("a", "<f4"), ("b", "O")]}, "numbers or text are required"),
        ({"descr": [("a", "<f4")]}, "numbers or text are required"),
        ({"descr": "|V4"}, "numbers or text are required"),
        ({"descr": "<U0"}, "numbers or text are required"),
        ({"descr": "no type"}, "x: "),
        ({"shape": "(3,)"}, "x: "),
        ({"fortran_order": 3}, "x: "),
    ],
    ids=str,
)
def test_a_header_is_checked_before_memory_is_allocated(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = written(tmp_path / "a.npz", member(np.zeros(3, np.float32), **changes))
    tracemalloc.start()
    assert message in refusal(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not numpy",
        b"\x93NUMPY",
        b"\x93NUMPY\x03\x00\x10\x00\x00\x00" + b" " * 16,
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
        b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65_535,
        b"\x93NUMPY\x01\x00\x10\x00" + b"(((((((((((((((\n",
        b"\x93NUMPY\x01\x00\x08\x00" + b"   'a\n  ",
        b"\x93NUMPY\x01\x00\x09\x00" + b"  1\n 2\n3 ",
        b"\x93NUMPY\x01\x00\x04\x00" + b"\xff\xff\xff\xff",
    ],
)
def test_what_pythons_parser_raises_for_a_header_is_one_line(tmp_path: Path, content: bytes) -> None:
    assert refusal(written(tmp_path / "a.npz", content)).startswith("x: ")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_that_numpy_does_not_write_are_refused(tmp_path: Path, method: int) -> None:
    assert "stored or deflate is required" in refusal(written(tmp_path / "a.npz", member(np.zeros(3)), method=method))


DIRECTORY = b"PK\1\2"


@pytest.mark.parametrize(
    ("offset", "new", "message"),
    [
        (8, b"\1", "is encrypted"),
        (10, b"\x63", "is compressed by method 99"),
        (10, b"\0", "has two sizes"),
        (20, struct.pack("<I", 1 << 30), "is cut off"),
        (24, struct.pack("<I", 1 << 31), "x: "),
        (42, struct.pack("<I", 1 << 20), "is cut off"),
        (16, b"\0\0\0\0", "x: "),
    ],
)
def test_a_member_that_is_not_what_the_archive_says(tmp_path: Path, offset: int, new: bytes, message: str) -> None:
    path = written(tmp_path / "a.npz", member(np.arange(100.0)))
    assert message in refusal(with_bytes(path, lambda content: content.index(DIRECTORY) + offset, new))


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    size = 3 << 30
    head = member(np.zeros(0, np.uint8), shape=(size,))
    written(path, head + bytes(32 << 20))
    # More zeros would not change what is refused; the list of members says that they are there.
    with_bytes(path, lambda content: content.index(DIRECTORY) + 24, struct.pack("<I", len(head) + size))
    started = time.process_time()
    assert "is compressed from 3,221,225,472 bytes to" in refusal(path)
    assert time.process_time() - started < 1


def test_a_large_array_of_constants_is_refused_by_its_ratio(tmp_path: Path) -> None:
    path = tmp_path / "zeros.npz"
    np.savez_compressed(path, x=np.zeros(80 << 20, np.uint8), y=np.arange(3))
    assert "; the limit is 100 to 1 above 67,108,864 bytes" in refusal(path)
    assert read_arrays(path, ["y"])["y"].tolist() == [0, 1, 2], "what nobody asked for is not read"


def test_more_members_than_the_limit_are_refused_at_once(tmp_path: Path) -> None:
    for count in (ARCHIVE_MEMBERS.most + 1, 50_000):
        with zipfile.ZipFile(tmp_path / "many.npz", "w") as archive:
            for i in range(count):
                archive.writestr(f"{i}", b"")
        started = time.process_time()
        assert "1,00" in refusal(tmp_path / "many.npz")
        assert time.process_time() - started < 1


def test_names(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", b"no array")
        archive.writestr("y.npy", member(np.arange(2)))
    assert {name: array.tolist() for name, array in read_arrays(path).items()} == {"y": [0, 1]}
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("y.npy", member(np.arange(3)))
    assert "two arrays named 'y'" in refusal(path)


@given(st.binary(max_size=300), st.integers(0, 400))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.npz"
    np.savez_compressed(path, x=np.arange(20.0), y=np.eye(3))
    content = path.read_bytes()
    path.write_bytes(content[:at] + noise + content[at + len(noise) :])
    with suppress(ValueError):
        read_arrays(path)


def test_a_single_array_is_no_archive(tmp_path: Path) -> None:
    with (tmp_path / "a.npz").open("wb") as target:
        np.save(target, np.arange(3))
    assert "a single .npy array" in refusal(tmp_path / "a.npz")
