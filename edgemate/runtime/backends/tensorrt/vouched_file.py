"""A cache file that a library parses, and so is read only if this machine wrote it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

from edgemate import files
from edgemate.errors import BundleError
from edgemate.trust import GuardedFolder, Ledger

try:
    import fcntl
except ImportError:  # Windows: two processes at once may lose what one of them wrote, never write half a file
    fcntl = None  # type: ignore[assignment]


class VouchedFile:
    """A file of which the record of what this machine built (`edgemate.trust.Ledger`) has the hash.

    Args:
        path: the file; its folder is made on first use.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ledger = Ledger.of_this_user()

    def read(self) -> bytes | None:
        """What this machine wrote; None where there is nothing, or something that it did not write."""
        content = self._content()
        return content if content is not None and self._ledger.knows(_hash(content)) else None

    def write(self, content: bytes) -> None:
        """Replace the file.

        Raises:
            OSError: it cannot be written.
            BackendError: the record cannot be written.
        """
        before = self._content()
        self._ledger.record(_hash(content))
        files.write_bytes(self.path, content)
        if before is not None and before != content:
            self._ledger.forget(_hash(before))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes and threads out. Raises OSError where the folder cannot be used."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("wb") as handle:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX)  # let go when the file is closed
            yield

    def _content(self) -> bytes | None:
        try:
            return GuardedFolder(self.path.parent).read(self.path.name)
        except (FileNotFoundError, BundleError):
            return None


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
