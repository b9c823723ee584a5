"""Files that are written atomically, and read without pickle."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate import array_files


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically: a reader sees the old file or the new one, never a part.

    Raises:
        OSError: it cannot be written; its `filename` is `path`, whichever step failed.
    """
    try:
        _write_whole(path, content)
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON, atomically. Raises ValueError for NaN and infinity."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write named arrays to `path` as a compressed `.npz`, atomically."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dict(arrays))  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """All arrays of an `.npz`, as `edgemate.array_files` reads them. Raises OSError or ValueError."""
    return array_files.read_arrays(path)


def check_folder(path: Path) -> None:
    """Check that a folder can be made or written to, without leaving anything behind.

    Raises:
        OSError: it cannot; its `filename` is `path`.
    """
    above = path
    while not above.exists():
        above = above.parent
    try:
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def check_file(path: Path) -> None:
    """Check that a file can be written, without leaving anything behind. Raises OSError; its `filename` is `path`."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    try:
        check_folder(path.parent)
    except OSError as error:
        error.filename = str(path)
        raise


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while block := source.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _write_whole(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as target:
            target.write(content)
            target.flush()
            os.fsync(target.fileno())
        Path(part).chmod(0o666 & ~umask())
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def umask() -> int:
    """The permissions that new files do not get."""
    # The mask can only be read by setting it; mkstemp's 0600 would hide a bundle from the user that serves it.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
