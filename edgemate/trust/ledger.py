"""The list of what this machine built for its user: engines, and the kernel timings that engines are built with.

It is a folder outside of any bundle, with one empty file per entry, whose name is made of SHA-256 hashes. An entry is
there or it is not, whenever the power fails. Nothing authenticates the entries: whoever can write in the user's data
folder can also read any key that lies there, and can run code as that user in a hundred other ways. So the folder is
closed to others (0700), and one that others own or may write to is not believed.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from edgemate.errors import BackendError

VARIABLE = "EDGEMATE_TRUST"
_ENTRY = re.compile(r"[0-9a-f]{64}(-[0-9a-f]{64})?")


def data_folder() -> Path:
    """The folder of what this machine built: $EDGEMATE_TRUST, else edgemate/ in the user's data folder.

    A relative path would be another folder wherever one stands, such as in an unpacked bundle.

    Raises:
        BackendError: the variable is not absolute, or the user has no home folder.
    """
    given = os.environ.get(VARIABLE)
    try:
        folder = Path(given or os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser()
        if not given and not folder.is_absolute():
            folder = Path("~/.local/share").expanduser()
    except RuntimeError as error:
        raise BackendError(f"this user has no home folder; set {VARIABLE} to a folder of yours") from error
    if not folder.is_absolute():
        raise BackendError(f"{VARIABLE} {given!r}: must be an absolute path")
    return folder if given else folder / "edgemate"


@dataclass(frozen=True)
class Ledger:
    """The list in folder `path`."""

    path: Path

    @classmethod
    def of_this_user(cls) -> Ledger:
        """The list of the user who runs this process."""
        return cls(data_folder() / "built")

    def prepare(self) -> None:
        """Make the folder, so that what cannot be recorded is not built for minutes first.

        Raises:
            BackendError: it cannot be made or written to, or others may write to it.
        """
        try:
            for folder in (self.path.parent, self.path):
                if not folder.is_dir():
                    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            writable = os.access(self.path, os.W_OK | os.X_OK)
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from error
        if not writable:
            raise self._unusable("it cannot be written to")
        problem = self._problem()
        if problem:
            raise self._unusable(problem)

    def record(self, *hashes: str) -> None:
        """Remember something that was built here, by the hash of each of its files.

        Raises:
            BackendError: the list cannot be written.
        """
        self.prepare()
        flags = os.O_CREAT | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
        try:
            os.close(os.open(self._entry(hashes), flags, 0o600))
            if hasattr(os, "O_DIRECTORY"):
                folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from error

    def forget(self, *hashes: str) -> None:
        """Remove an entry, if it is there and can be removed."""
        try:
            self._entry(hashes).unlink(missing_ok=True)
        except OSError:
            return  # what stays was built here all the same

    def knows(self, *hashes: str) -> bool:
        """Whether exactly this was built here. A list that others may have written to knows nothing."""
        try:
            return stat.S_ISREG(self._entry(hashes).lstat().st_mode) and self._problem() is None
        except (OSError, ValueError):
            return False

    def _entry(self, hashes: tuple[str, ...]) -> Path:
        name = "-".join(hashes)
        if not _ENTRY.fullmatch(name):
            raise ValueError(f"{name!r} is not one or two SHA-256 hashes")
        return self.path / name

    def _problem(self) -> str | None:
        """Why the list is not believed; None where it is."""
        if not hasattr(os, "getuid"):  # Windows keeps the profile's folder to its user
            return None
        for folder in (self.path, self.path.parent):
            found = folder.stat() if folder != self.path else folder.lstat()
            if not stat.S_ISDIR(found.st_mode):
                return f"{folder} is not a folder"
            if found.st_uid not in (os.getuid(), 0):
                return f"{folder} belongs to another user"
            if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return f"others may write to it (chmod 700 {folder})"
        return None

    def _unusable(self, reason: str) -> BackendError:
        return BackendError(
            f"{self.path}: the list of engines built here cannot be kept: {reason}; set {VARIABLE} to a folder of yours"
        )
