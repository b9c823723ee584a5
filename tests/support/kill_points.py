# ruff: noqa: PTH100, PTH115, PTH117, PTH118
# A path may be bytes here, or relative to an open folder.
"""Counts the file-system calls of this process below a folder, and kills it, or fills the disk, at one of them.

Counted are: opening for writing, every write to an open file, fsync, mkdir, rename, link, truncate, unlink and rmdir.
What goes through Python is seen by an audit hook, by a file class that is put in place of Python's, and by functions
put in place of `os.fsync` and `os.pwrite`. Calls that a library makes in C are not seen.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

Act = Literal["kill", "full", "count"]

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# event → positions of the paths, and of the open folder that they are relative to
_EVENTS = {
    "os.mkdir": ((0, 2),),
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((1, 3),),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.truncate": ((0, None),),
}
# Of a full disk these need no space.
_FREE = ("os.remove", "os.rmdir", "os.rename")


class KillPoints:
    """Installed in a process that does nothing else; there is no way back.

    Args:
        root: the folder.
        at: which call, from 1.
        act: `kill` at it, before it has an effect (a write: after half of it); `full`: let it and all later ones that
            need space fail with ENOSPC; `count` them only.
        log: file to which the calls are written as they come, for messages.
    """

    def __init__(self, root: Path, at: int = 0, act: Act = "count", log: Path | None = None) -> None:
        self.root, self.at, self.act = str(root), at, act
        self.done = 0
        self._inside = False
        self._log = None if log is None else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)

    def install(self) -> None:
        """Watch this process from now on."""
        sys.addaudithook(self._heard)
        real_open, real_sync, real_pwrite = io.open, os.fsync, os.pwrite
        file_class = _file_class(self)

        def watched_open(file: Any, mode: str = "r", buffering: int = -1, *given: Any, **named: Any) -> Any:
            if not set(mode) & set("wax+") or not isinstance(mode, str):
                return real_open(file, mode, buffering, *given, **named)
            return _opened(file_class, file, mode, buffering, *given, **named)

        def fsync(handle: Any) -> None:
            self.come("fsync", _path_of(handle))
            real_sync(handle)

        def pwrite(handle: int, content: bytes, offset: int) -> int:
            self.come("write", _path_of(handle))
            return real_pwrite(handle, content, offset)

        builtins.open = io.open = watched_open  # type: ignore[assignment]
        os.fsync, os.pwrite = fsync, pwrite  # type: ignore[assignment]

    def come(self, call: str, path: str, half: Callable[[], object] = lambda: None) -> None:
        """A call is about to be made; `half` makes a part of it."""
        if self._inside or not (path == self.root or path.startswith(self.root + os.sep)):
            return
        self._inside = True
        try:
            self.done += 1
            if self._log is not None:
                os.write(self._log, f"{self.done} {call} {path}\n".encode())
            if self.act == "kill" and self.done == self.at:
                half()
                os.kill(os.getpid(), signal.SIGKILL)
            if self.act == "full" and self.done >= self.at and call not in _FREE:
                if self._log is not None:
                    os.write(self._log, b"refused\n")
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            self._inside = False

    def _heard(self, event: str, given: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = given
            if not isinstance(path, int) and path is not None and isinstance(flags, int) and flags & _WRITES:
                self.come("open", os.path.abspath(os.fsdecode(path)))
            return
        for path, folder in _EVENTS.get(event, ()):
            found = _resolved(given[path], None if folder is None else given[folder])
            if found == self.root or found.startswith(self.root + os.sep):
                self.come(event, found)
                return


def _resolved(path: Any, folder: Any) -> str:
    text = _path_of(path) if isinstance(path, int) else os.fsdecode(path)
    if isinstance(folder, int) and folder >= 0 and not os.path.isabs(text):
        return os.path.join(_path_of(folder), text)
    return os.path.abspath(text)


def _path_of(handle: Any) -> str:
    number = handle if isinstance(handle, int) else handle.fileno()
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return ""


def _file_class(points: KillPoints) -> type[io.FileIO]:
    class WatchedFile(io.FileIO):
        def write(self, content: Any) -> int:
            view = memoryview(content).cast("B")

            def half() -> None:
                io.FileIO.write(self, view[: len(view) // 2])

            points.come("write", _path_of(self.fileno()), half)
            return io.FileIO.write(self, view) or 0

    return WatchedFile


def _opened(
    file_class: type[io.FileIO],
    file: Any,
    mode: str,
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Any = None,
) -> Any:
    raw = file_class(file, mode.replace("b", "").replace("t", ""), closefd, opener)
    if buffering == 0:
        return raw
    buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
    return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)
