"""Files and folders that survive a kill or a power cut: whole, on the disk, and without leftovers for long.

A file is written beside its place, under a hidden name, synced, and renamed; then its folder is synced, as SQLite does
with its journal. Whoever writes a hidden file or folder holds a lock on it, which the kernel releases when the process
ends. A hidden one without a lock is therefore the leftover of a process that was killed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows: leftovers stay, and folders are not synced
    fcntl = None  # type: ignore[assignment]

# `.NAME.TOKEN.part`. Tokens of eight characters are of earlier versions.
_LEFTOVER = re.compile(r"\.(?P<name>.+)\.(?:[0-9a-f]{16}|[a-z0-9_]{8})\.(?:part|old)", re.DOTALL)
# Of a disk that does not know how to sync a folder, which is then none of our business.
_NOT_SYNCED = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A binary file to write and read that becomes `path` when the block ends, and is removed where it raises.

    Raises:
        OSError: it cannot be written; its `filename` is `path`, whichever step failed.
    """
    try:
        make_folder(path.parent)
        handle, part = _new_part(path)
        try:
            with os.fdopen(handle, "w+b") as target:
                yield target
                target.flush()
                os.fsync(target.fileno())
                if fcntl is not None:  # while it is locked
                    part.replace(path)
            if fcntl is None:  # Windows renames no open file
                part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def make_folder(path: Path) -> None:
    """Make a folder and those above it, and sync the folders that got an entry. It may exist already."""
    missing = []
    above = path
    while not above.exists() and above != above.parent:
        missing.append(above)
        above = above.parent
    path.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_folder(made.parent)


def sync_folder(path: Path) -> None:
    """Write a folder's entries to the disk, so that a rename in it outlasts a power cut."""
    if fcntl is None:
        return
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # a folder that may be written to and not read
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NOT_SYNCED:
            error.filename = str(path)
            raise
    finally:
        os.close(handle)


def sync_tree(path: Path) -> None:
    """Write every file and folder below `path`, and itself, to the disk."""
    if fcntl is None:  # Windows syncs no file that is open for reading
        return
    for folder, _, names in os.walk(path, topdown=False):
        for name in names:
            handle = os.open(os.path.join(folder, name), os.O_RDONLY)  # noqa: PTH118, os.walk gives text
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        sync_folder(Path(folder))


def hidden_name(path: Path, suffix: str) -> Path:
    """A new hidden name beside `path`; `suffix` is `part` for what is being made, `old` for what was replaced."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.{suffix}")


def is_leftover(path: Path, name: str | None = None) -> bool:
    """Whether a file or folder has a hidden name of ours; with `name` only one beside the place of that name."""
    found = _LEFTOVER.fullmatch(path.name)
    return found is not None and name in (None, found["name"])


def remove_leftovers(folder: Path, name: str | None = None, *, deep: bool = False) -> None:
    """Remove the hidden files and folders that killed processes left in `folder`; those of running ones stay.

    What cannot be removed stays without an error: it is in nobody's way.

    Args:
        folder: the folder, which may be absent.
        name: only those that were to become the entry of this name.
        deep: in all folders below it as well.
    """
    with contextlib.suppress(OSError):
        for entry in sorted(folder.iterdir()):
            if is_leftover(entry, name):
                remove_unless_held(entry)
            elif deep and entry.is_dir() and not entry.is_symlink():
                remove_leftovers(entry, name, deep=True)


def remove_unless_held(path: Path) -> None:
    """Remove a file or folder, unless a process holds it."""
    with contextlib.suppress(OSError), held(path) as free:
        if not free:
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def held(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold the lock of an existing file or folder, so that nobody takes it for a leftover.

    Args:
        path: the file or folder.
        wait: wait for a process that holds it.

    Yields:
        Whether it is held now; False where another process does.

    Raises:
        OSError: there is no such file.
    """
    if fcntl is None:
        yield True
        return
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        yield _lock(handle, wait=wait)
    finally:
        os.close(handle)


def _new_part(path: Path) -> tuple[int, Path]:
    while True:
        part = hidden_name(path, "part")
        # Created as any new file is, with the permissions that the umask leaves.
        handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        # Another process may have taken it for a leftover before it was locked.
        if _lock(handle) and os.fstat(handle).st_nlink:
            return handle, part
        os.close(handle)


def _lock(handle: int, *, wait: bool = False) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a disk without locks
        return True
    return True
