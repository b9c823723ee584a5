"""Files of one folder that take their places together.

Inside `together(folder)`, `edgemate.files` writes them into a hidden folder. Renaming that folder at the end decides:
from then on its files are moved to their places, by whoever comes next if the process is killed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from edgemate import durable

_COMMITTED = re.compile(r"\.group\.[0-9a-f]{16}\.committed")


class _Group:
    def __init__(self, folder: Path) -> None:
        self.folder = Path(os.path.abspath(folder))  # noqa: PTH100, links are not followed
        self.path = self.folder / f".group.{secrets.token_hex(8)}.part"
        self._stack = contextlib.ExitStack()

    def place(self, path: Path) -> Path | None:
        """Where a file of the folder is written first; None for other files."""
        if os.path.abspath(path.parent) != str(self.folder):  # noqa: PTH100
            return None
        if path.is_dir() and not path.is_symlink():  # before it is decided that the files are moved
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not self.path.exists():
            durable.make_folder(self.folder)
            self.path.mkdir()
            self._stack.enter_context(durable.held(self.path))
        return self.path / path.name

    def commit(self) -> None:
        if not self.path.exists():
            return
        committed = self.path.with_suffix(".committed")
        self.path.rename(committed)
        try:
            durable.sync_folder(self.folder)
        finally:  # it is decided: where the disk takes no more, the files still come to their places
            _move(committed)

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._stack.close()


_current: ContextVar[_Group | None] = ContextVar("current", default=None)


@contextlib.contextmanager
def together(folder: Path) -> Iterator[None]:
    """Let the files that are written into `folder` in this block take their places together, when it ends.

    Where it raises, none of them does. Files in folders below it are written at once. A block inside of another of the
    same folder belongs to that one.
    """
    outer = _current.get()
    if outer is not None and outer.folder == Path(os.path.abspath(folder)):  # noqa: PTH100
        yield
        return
    finish_groups(folder)
    group = _Group(folder)
    token = _current.set(group)
    try:
        yield
        group.commit()
    finally:
        _current.reset(token)
        group.close()


def written_at(path: Path) -> Path:
    """Where a file is to be written now: its own place, or that in the group which it belongs to."""
    group = _current.get()
    return path if group is None else group.place(path) or path


def finish_groups(folder: Path) -> None:
    """Move the files of groups that a killed process had decided on, and remove those that it had not.

    Readers call it too. Where the folder cannot be written to, it stays as it is.
    """
    with contextlib.suppress(OSError):
        for path in sorted(folder.iterdir()):
            if _COMMITTED.fullmatch(path.name):
                with contextlib.suppress(OSError), durable.held(path, wait=True):
                    _move(path)
            elif path.name.startswith(".group.") and durable.is_leftover(path):
                durable.remove_unless_held(path)


def _move(committed: Path) -> None:
    for path in sorted(committed.iterdir()):
        with contextlib.suppress(FileNotFoundError):  # another process moves them too
            path.replace(committed.parent / path.name)
    try:
        durable.sync_folder(committed.parent)
    finally:
        with contextlib.suppress(FileNotFoundError):
            committed.rmdir()
