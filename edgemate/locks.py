"""Locks on folders that only one process may write. The kernel releases them when the process ends, however it does.

A run has a lock file: the workers of its loader inherit an open folder, and may outlive it for seconds. A bundle has
none, since its files are listed: the folder itself is locked.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where two processes are not kept apart
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".lock"
_POLL_SECONDS = 0.05
_mine: set[tuple[int, int]] = set()


class HeldError(Exception):
    """Another process holds the lock. `str(error)` names it, such as `process 4711`."""


@contextlib.contextmanager
def lock_file(folder: Path, *, seconds: float = 0.0) -> Iterator[None]:
    """Hold the lock file of a folder that exists; it is created, and stays.

    Args:
        folder: the folder.
        seconds: how long to wait for another process.

    Raises:
        HeldError: another process still holds it, or another thread of this one.
        OSError: it cannot be created.
    """
    if fcntl is None:
        yield
        return
    path = folder / LOCK_FILE
    # Before it is opened: closing it would release the lock, which belongs to the process.
    if path.exists() and _key(path.stat()) in _mine:
        raise HeldError(f"process {os.getpid()}, which is this one")
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    key = _key(os.fstat(handle))
    try:
        _lock_handle(handle, time.monotonic() + seconds)
        with contextlib.suppress(OSError):  # a full disk: the lock holds without a name in it
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        _mine.add(key)
        try:
            yield
        finally:
            _mine.discard(key)
    finally:
        os.close(handle)


def _lock_handle(handle: int, until: float) -> None:
    while True:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            if time.monotonic() < until:
                time.sleep(_POLL_SECONDS)
                continue
            holder = os.pread(handle, 300, 0).decode(errors="replace").strip()
            raise HeldError(holder or "another process") from error
        except OSError:  # a disk without locks
            pass
        return


def _key(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def check_lock_file(folder: Path) -> None:
    """Raise HeldError if another process holds the lock file of a folder, which may be absent."""
    if (folder / LOCK_FILE).is_file():
        with contextlib.suppress(OSError), lock_file(folder):
            pass


@contextlib.contextmanager
def lock_folder(folder: Path, *, seconds: float = 0.0) -> Iterator[None]:
    """Hold the lock of a folder itself.

    Args:
        folder: the folder; where it does not exist, nothing is locked.
        seconds: how long to wait for another process.

    Raises:
        HeldError: another process still holds it.
    """
    if fcntl is None:
        yield
        return
    until = time.monotonic() + seconds
    while (handle := _try_folder(folder, last=time.monotonic() >= until)) is _BUSY:
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


_BUSY = -1


def _try_folder(folder: Path, *, last: bool) -> int | None:
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(handle)
        os.close(handle)
        if last:
            raise HeldError(holder) from None
        return _BUSY
    except OSError:  # a disk without locks
        return handle
    # The folder may have been replaced before it was locked.
    with contextlib.suppress(OSError):
        here, now = os.fstat(handle), folder.stat()
        if (here.st_dev, here.st_ino) != (now.st_dev, now.st_ino):
            os.close(handle)
            return _try_folder(folder, last=last)
    return handle


def _holder(handle: int) -> str:
    """The process that holds the lock of an open folder, as far as proc(5) tells."""
    found = os.fstat(handle)
    file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    with contextlib.suppress(OSError, IndexError):
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5] == file and fields[4].isdecimal():
                return f"process {fields[4]}"
    return "another process"
