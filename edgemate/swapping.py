"""Folders that take another's place at once: whoever looks finds the old one whole, or the new one. Files that take
nobody's."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from edgemate import durable

_AT_FDCWD, _RENAME_NOREPLACE, _RENAME_EXCHANGE = -100, 1, 2  # of linux/fcntl.h and linux/fs.h
# Of a kernel, or a file system, that cannot exchange two names.
_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """An empty hidden folder beside `target`, for `put_in_place`. What is under its name at the end is removed.

    Leftovers of killed processes that were to become the same target are removed first.
    """
    recover(target)
    durable.make_folder(target.parent)
    durable.remove_leftovers(target.parent, target.name)
    path = durable.hidden_name(target, "part")
    path.mkdir()
    try:
        with durable.held(path):
            yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def put_in_place(new: Path, target: Path, *, replace: bool = True) -> None:
    """Move folder `new` to `target`. A folder that is there is removed afterwards.

    Without `replace` nothing may be there, and of two processes that move one there at once, one does.

    Where the system cannot exchange two names, there is no `target` for a moment. `recover` puts it back if the process
    is killed then.

    Raises:
        FileExistsError: something is there, and it is not to be replaced.
        OSError: it cannot be moved; `target` is as it was.
    """
    durable.sync_tree(new)
    if not replace:
        _move_to_new_place(new, target)
        durable.sync_folder(target.parent)
        return
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        new.rename(target)
        durable.sync_folder(target.parent)
        return
    with durable.held(target):
        old = new
        if not exchange(new, target):
            old = durable.hidden_name(target, "old")
            target.rename(old)
            try:
                new.rename(target)
            except BaseException:
                old.rename(target)
                raise
        durable.sync_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _move_to_new_place(new: Path, target: Path) -> None:
    try:
        if not _renameat2(new, target, _RENAME_NOREPLACE):
            new.rename(target)  # which replaces an empty folder at most
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        raise


def exchange(one: Path, other: Path) -> bool:
    """Exchange what two names of one file system stand for, atomically; False where this system cannot.

    Raises:
        OSError: it is refused.
    """
    return _renameat2(one, other, _RENAME_EXCHANGE)


def move_to_new_name(file: Path, target: Path) -> None:
    """Rename a file, to a name that nobody has: of two processes that want one name, one gets it.

    Raises:
        FileExistsError: somebody has it.
        OSError: it cannot be moved, such as to another file system.
    """
    if _renameat2(file, target, _RENAME_NOREPLACE):
        return
    # The name is taken by an empty file first, which the rename replaces.
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        file.replace(target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _renameat2(one: Path, other: Path, flag: int) -> bool:
    """Rename atomically as the flag says; False where this system cannot. Raises OSError where it is refused."""
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):  # a C library older than the call
        return False
    sys.audit("os.rename", os.fspath(one), os.fspath(other), -1, -1)
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), flag) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(other))


def recover(target: Path) -> None:
    """Put a folder back that a killed process had moved away to replace it; nothing where `target` exists."""
    if os.path.lexists(target) or not target.parent.is_dir():
        return
    with contextlib.suppress(OSError):
        waiting = (path for path in target.parent.iterdir() if durable.is_leftover(path, target.name))
        old = [path for path in waiting if path.suffix == ".old" and path.is_dir()]
        for path in sorted(old, key=lambda path: path.stat().st_mtime, reverse=True):
            # The process that is just replacing it holds it: wait until it has.
            with durable.held(path, wait=True):
                if not os.path.lexists(target) and path.exists():
                    path.rename(target)
                    durable.sync_folder(target.parent)
