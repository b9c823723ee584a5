"""Reading `.npz` archives that anybody may have written: without pickle, and bounded before memory is allocated.

An array's dtype and shape come from its header. They must fit what the archive stores of it, and that what the file
can hold. Only members that are asked for are read.
"""

from __future__ import annotations

import io
import math
import os
import struct
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from edgemate.limits import ARCHIVE_MEMBERS, ARRAY_BYTES, ARRAY_RATIO, UNCHECKED_RATIO

Array = npt.NDArray[Any]
Result = TypeVar("Result")

_SUFFIX = ".npy"
_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 10_000  # what numpy itself reads at most
_LENGTH_FORMATS = {(1, 0): "<H", (2, 0): "<I"}
_KINDS = "biufcSU"  # bool, integers, floats, complex numbers, bytes and text; no objects and no records
_COMPRESSIONS = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "lzma"}
_BLOCK = 1 << 20
_LARGEST_DIRECTORY = 1 << 18  # bytes of the list of members, which zipfile reads before it counts them
_LOCAL_HEADER = 30  # bytes before the name of a member


class ArrayHeader(NamedTuple):
    """What an array's header says.

    Attributes:
        dtype: of the array.
        shape: of the array.
        fortran_order: the first index changes fastest.
        start: bytes of the header, where the content of the array begins in its member.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran_order: bool
    start: int

    @property
    def nbytes(self) -> int:
        """Bytes of the array's content."""
        return self.dtype.itemsize * math.prod(self.shape)


class ArrayArchive:
    """An opened `.npz`. Use `open_arrays`. Every method raises ValueError, in one line, where it cannot be read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = _Bounded(stream)
        self._size = self._stream.seek(0, os.SEEK_END)
        self._stream.seek(0)
        if self._stream.read(len(_MAGIC)) == _MAGIC:
            raise ValueError("is a single .npy array, not an .npz archive")
        self._zip = _one_kind("", lambda: zipfile.ZipFile(self._stream))
        self._stream.most = None
        members = self._zip.infolist()
        ARCHIVE_MEMBERS.check(len(members))
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in members:
            name = member.filename.removesuffix(_SUFFIX)
            if name in self._members:
                raise ValueError(f"has two arrays named {name!r}")
            if name != member.filename:
                self._members[name] = member

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays, in the order of the file."""
        return tuple(self._members)

    def header(self, name: str) -> ArrayHeader:
        """The dtype and shape of an array, which its content has been found to fit. KeyError if there is no such."""
        member = self._members[name]
        return _one_kind(name, lambda: self._header(member))

    def read(self, name: str) -> Array:
        """An array's content, in memory. KeyError if there is no such array."""
        member = self._members[name]
        return _one_kind(name, lambda: self._read(member))

    def offset(self, name: str) -> int | None:
        """Where the content of an array begins in the file; None if it is compressed. KeyError if there is no such."""
        member = self._members[name]
        return _one_kind(name, lambda: self._offset(member))

    def _header(self, member: zipfile.ZipInfo) -> ArrayHeader:
        self._check_member(member)
        with self._zip.open(member) as source:
            header = _read_header(source)
        if header.start + header.nbytes != member.file_size:
            stored = max(member.file_size - header.start, 0)
            raise ValueError(f"its header states {header.nbytes:,} bytes, and {stored:,} are stored")
        if header.nbytes > max(UNCHECKED_RATIO, ARRAY_RATIO.most * member.compress_size):
            raise ValueError(
                f"is compressed from {header.nbytes:,} bytes to {member.compress_size:,}; the limit is "
                f"{ARRAY_RATIO.most} to 1 above {UNCHECKED_RATIO:,} bytes"
            )
        return header

    def _check_member(self, member: zipfile.ZipInfo) -> None:
        if member.flag_bits & 1:
            raise ValueError("is encrypted")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            kind = _COMPRESSIONS.get(member.compress_type, f"method {member.compress_type}")
            raise ValueError(f"is compressed by {kind}; stored or deflate is required, as numpy writes it")
        if member.header_offset + member.compress_size > self._size:
            raise ValueError("is cut off")
        if member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
            raise ValueError("has two sizes")

    def _read(self, member: zipfile.ZipInfo) -> Array:
        header = self._header(member)
        ARRAY_BYTES.check(header.nbytes)
        array = np.empty(math.prod(header.shape), header.dtype)
        content = array.view(np.uint8)
        with self._zip.open(member) as source:
            source.read(header.start)
            done = 0
            while done < len(content):
                block = source.read(min(_BLOCK, len(content) - done))
                if not block:
                    raise ValueError("is cut off")
                content[done : done + len(block)] = np.frombuffer(block, np.uint8)
                done += len(block)
            source.read(1)  # at its end the checksum is compared
        return array.reshape(header.shape, order="F" if header.fortran_order else "C")

    def _offset(self, member: zipfile.ZipInfo) -> int | None:
        header = self._header(member)
        if member.compress_type != zipfile.ZIP_STORED:
            return None
        self._stream.seek(member.header_offset)
        name_length, extra_length = struct.unpack("<HH", self._stream.read(_LOCAL_HEADER)[-4:])
        start: int = member.header_offset + _LOCAL_HEADER + name_length + extra_length + header.start
        if start + header.nbytes > self._size:
            raise ValueError("is cut off")
        return start


@contextmanager
def open_arrays(path: Path) -> Iterator[ArrayArchive]:
    """Open an `.npz` for reading. Raises OSError, and ValueError in one line if it is not one."""
    with path.open("rb") as stream:  # zipfile would leave it open when the archive is damaged
        yield ArrayArchive(stream)


def read_arrays(path: Path, names: Collection[str] | None = None) -> dict[str, Array]:
    """Arrays of an `.npz`.

    Args:
        path: the file.
        names: those to read, where the file has them; all if None.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is not an `.npz` archive, is damaged, or is beyond a limit; one line.
    """
    with open_arrays(path) as archive:
        return {name: archive.read(name) for name in archive.names if names is None or name in names}


class _Bounded:
    """A file of which at most `most` bytes are read at once, as zipfile reads the whole list of members."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.most: int | None = _LARGEST_DIRECTORY
        self.seek, self.tell, self.seekable = stream.seek, stream.tell, stream.seekable

    def read(self, size: int = -1) -> bytes:
        if self.most is not None and size > self.most:
            raise ValueError(ARCHIVE_MEMBERS.exceeded())
        return self._stream.read(size)


def _read_header(source: Any) -> ArrayHeader:
    """The header at the beginning of a member, whose length is checked before it is read."""
    beginning = source.read(len(_MAGIC) + 2)
    if beginning[:-2] != _MAGIC:
        raise ValueError("is not an array")
    version = (beginning[-2], beginning[-1])
    if version not in _LENGTH_FORMATS:
        raise ValueError(f"has version {version[0]}.{version[1]} of the .npy format; 1.0 or 2.0 is required")
    stated = source.read(struct.calcsize(_LENGTH_FORMATS[version]))
    [length] = struct.unpack(_LENGTH_FORMATS[version], stated)
    if length > _LONGEST_HEADER:
        raise ValueError(f"has a header of {length:,} bytes; the limit is {_LONGEST_HEADER:,}")
    text = io.BytesIO(stated + source.read(length))
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read(text)
    if dtype.kind not in _KINDS or not dtype.itemsize or dtype.shape:
        raise ValueError(f"is of dtype {str(dtype)[:80]}; numbers or text are required")
    if any(size < 0 for size in shape):
        raise ValueError(f"has the shape {shape}")
    return ArrayHeader(dtype, tuple(map(int, shape)), bool(fortran_order), len(beginning) + len(stated) + length)


def _one_kind(name: str, read: Callable[[], Result]) -> Result:
    """What `read` returns. Any error but OSError becomes a ValueError of one line.

    A damaged or hostile archive makes zipfile, zlib, and numpy with Python's parser raise almost anything.
    """
    prefix = f"{name}: " if name else ""
    try:
        return read()
    except MemoryError:
        raise ValueError(f"{prefix}does not fit into the memory") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise ValueError(f"{prefix}{_reason(error)}") from error
    except Exception as error:
        raise ValueError(f"{prefix or 'not an .npz archive: '}{_reason(error)}") from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
