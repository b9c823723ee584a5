"""Reading a bundle that another process may be calibrating or replacing: as it was before, or as it is after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from edgemate.bundle.manifest import MANIFEST_FILE
from edgemate.errors import EdgemateError
from edgemate.swapping import recover

Read = TypeVar("Read")
_ATTEMPTS = 100
_ENGINES = "engines"
_State = tuple[int, ...]


def consistently(path: Path, read: Callable[[], Read], discard: Callable[[Read], None] = lambda found: None) -> Read:
    """What `read` makes of the bundle in folder `path`.

    It is called again where the folder or engines in it were replaced meanwhile, or where it fails and the manifest was
    replaced meanwhile. A bundle that a killed process had moved away to replace it is put back first.

    Args:
        path: the bundle's folder.
        read: reads files of the bundle.
        discard: called with what was read of two bundles.

    Raises:
        EdgemateError: what `read` raises of a bundle that nobody writes.
    """
    recover(path)
    for _ in range(_ATTEMPTS):
        place, manifest = _place(path), _state(path / MANIFEST_FILE)
        try:
            found = read()
        except EdgemateError:
            if (place, manifest) == (_place(path), _state(path / MANIFEST_FILE)):
                raise
            continue
        if place == _place(path):
            return found
        discard(found)
    return read()


def _place(path: Path) -> tuple[_State, _State]:
    """What differs once another bundle has taken this place, or other engines have taken theirs in it."""
    return _state(path)[:2], _state(path / _ENGINES)


def _state(path: Path) -> _State:
    """What differs once another file or folder has taken this place; a file written anew has another inode or time."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
