"""The files of a folder that somebody else may have made: opened one part of the path at a time, never through a link.

A link, FIFO, device or socket is refused by name before anything is read from it. What is checked is what is read: the
type of a file is that of the open descriptor.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from edgemate.durable import is_leftover
from edgemate.errors import BundleError
from edgemate.limits import BUNDLE_FILES, FOLDER_ENTRIES

DEEPEST = 16

_KINDS = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
# Where the system lacks them (Windows), the checks are made by path.
_BY_DESCRIPTOR = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
_FILE = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_FOLDER = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_DIRECTORY", 0)


def inside(path: str) -> str:
    """`path` if it stays inside a folder on any system, written in its shortest form. Raises ValueError."""
    windows = PureWindowsPath(path)
    if not path or "\\" in path or "\0" in path or windows.drive or windows.root or PurePosixPath(path).is_absolute():
        raise ValueError(f"{path!r} is not a relative path with forward slashes")
    if ".." in path.split("/"):
        raise ValueError(f"{path!r} leaves the bundle")
    if str(PurePosixPath(path)) != path or path == ".":
        raise ValueError(f"{path!r} is not written in its shortest form")
    return path


@dataclass(frozen=True)
class GuardedFolder:
    """The files below a folder. The folder itself is the user's word, and may be reached by a link.

    Paths are relative, with forward slashes. Every method raises BundleError, in one line that names the file, for a
    path that leaves the folder, and for a link or a special file anywhere on it.
    """

    path: Path

    def has(self, relative: str) -> bool:
        """Whether there is such a plain file."""
        try:
            with self.open(relative):
                return True
        except FileNotFoundError:
            return False

    def check(self, relative: str) -> Path:
        """The path of a plain file, for libraries that open it themselves. Raises FileNotFoundError too."""
        with self.open(relative):
            return self.path / relative

    def open(self, relative: str) -> BinaryIO:
        """A plain file, to be read. Raises FileNotFoundError where it does not exist."""
        parts = self._parts(relative)
        if not _BY_DESCRIPTOR:
            return self._open_by_path(parts)
        with self._folder(parts[:-1]) as folder:
            self._require(parts, stat.S_ISREG, folder)
            try:
                descriptor = os.open(parts[-1], _FILE, dir_fd=folder)
            except OSError as error:
                raise self._refusal(parts, error) from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise BundleError(f"{self.path / relative}: is not a file any more")
        return os.fdopen(descriptor, "rb")

    def read(self, relative: str, most: int | None = None) -> bytes:
        """The content of a plain file.

        Args:
            relative: the file.
            most: bytes; a longer file is refused unread.
        """
        with self.open(relative) as source:
            size = os.fstat(source.fileno()).st_size
            if most is not None and size > most:
                raise BundleError(f"{self.path / relative}: has {size:,} bytes; the limit is {most:,}")
            return source.read()

    def sha256(self, relative: str, size: int | None = None) -> tuple[str, int]:
        """SHA-256 in hexadecimal and number of bytes of a plain file; unread where it has another `size`."""
        digest = hashlib.sha256()
        with self.open(relative) as source:
            found = os.fstat(source.fileno()).st_size
            if size is not None and found != size:
                return "", found
            while block := source.read(1 << 20):
                digest.update(block)
        return digest.hexdigest(), found

    def modified(self, relative: str) -> float:
        """When a plain file was last written, in seconds since 1970."""
        with self.open(relative) as source:
            return os.fstat(source.fileno()).st_mtime

    def names(self, relative: str) -> list[str]:
        """What is in a sub-folder, sorted; empty where there is none. More than `FOLDER_ENTRIES` are refused."""
        parts = self._parts(relative)
        try:
            if not _BY_DESCRIPTOR:
                for count in range(1, len(parts) + 1):
                    self._require(parts[:count], stat.S_ISDIR, None)
                return self._entries(relative, self.path / relative)
            with self._folder(parts) as folder:
                return self._entries(relative, folder)
        except FileNotFoundError:
            return []

    def folders(self, relative: str) -> list[str]:
        """The folders in a sub-folder, sorted. A link among them is refused; other files are left out."""
        found = []
        for name in self.names(relative):
            mode = self._mode((*self._parts(relative), name))
            if stat.S_ISLNK(mode):
                self._require((*self._parts(relative), name), stat.S_ISDIR, None)
            if stat.S_ISDIR(mode):
                found.append(name)
        return found

    def walk(self) -> Iterator[str]:
        """Every file below the folder, sorted; what killed commands left under hidden names is passed over.

        Anything that is neither a folder nor a plain file is refused, and so are more than `BUNDLE_FILES`, and folders
        that are more than `DEEPEST` deep.
        """
        for count, name in enumerate(self._walk(()), start=1):
            if count > BUNDLE_FILES.most:
                raise BundleError(f"{self.path}: {BUNDLE_FILES.exceeded()}")
            yield name

    def place(self, relative: str) -> Path:
        """Where a file may be written: nothing on the way there, nor the file itself, is a link or a special file."""
        parts = self._parts(relative)
        for count in range(1, len(parts) + 1):
            wanted = stat.S_ISREG if count == len(parts) else stat.S_ISDIR
            try:
                self._require(parts[:count], wanted, None)
            except FileNotFoundError:
                break
        return self.path / relative

    def _entries(self, relative: str, place: Path | int) -> list[str]:
        found: list[str] = []
        with os.scandir(place) as entries:
            for entry in entries:
                if len(found) == FOLDER_ENTRIES.most:
                    raise BundleError(f"{self.path / relative}: {FOLDER_ENTRIES.exceeded()}")
                found.append(entry.name)
        return sorted(found)

    def _walk(self, parts: tuple[str, ...]) -> Iterator[str]:
        if len(parts) > DEEPEST:
            raise BundleError(f"{self.path.joinpath(*parts)}: is more than {DEEPEST} folders deep, which is the limit")
        for name in sorted(file.name for file in self.path.joinpath(*parts).iterdir()):
            below = (*parts, name)
            if is_leftover(Path(name)):  # which nothing opens, and the next command that writes here removes
                continue
            mode = self._mode(below)
            if stat.S_ISDIR(mode):
                yield from self._walk(below)
            else:
                self._require(below, stat.S_ISREG, None)
                yield "/".join(below)

    def _parts(self, relative: str) -> tuple[str, ...]:
        try:
            return tuple(inside(relative).split("/"))
        except ValueError as error:
            raise BundleError(f"{self.path}: {error}") from error

    @contextlib.contextmanager
    def _folder(self, parts: tuple[str, ...]) -> Iterator[int]:
        """The descriptor of a sub-folder."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for count, name in enumerate(parts, start=1):
                self._require(parts[:count], stat.S_ISDIR, descriptor)
                try:
                    below = os.open(name, _FOLDER, dir_fd=descriptor)
                except OSError as error:
                    raise self._refusal(parts[:count], error) from error
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    def _require(self, parts: tuple[str, ...], wanted: object, folder: int | None) -> None:
        """Refuse what is not of the kind that `wanted`, a function of `stat`, tells."""
        try:
            mode = self._mode(parts) if folder is None else self._mode_at(parts[-1], folder)
        except OSError as error:
            raise self._refusal(parts, error) from error
        if callable(wanted) and wanted(mode):
            return
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "a file")
        place = self.path.joinpath(*parts)
        if stat.S_ISLNK(mode):
            raise BundleError(f"{place}: is a link, and links are not followed in a bundle; copy it with cp -rL")
        raise BundleError(f"{place}: is {kind}; {'a folder' if wanted is stat.S_ISDIR else 'a file'} should be there")

    def _mode(self, parts: tuple[str, ...]) -> int:
        return os.lstat(self.path.joinpath(*parts)).st_mode

    @staticmethod
    def _mode_at(name: str, folder: int) -> int:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode

    def _refusal(self, parts: tuple[str, ...], error: OSError) -> Exception:
        place = self.path.joinpath(*parts)
        if error.errno == errno.ENOENT:
            return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(place))
        return BundleError(f"{place}: cannot be read: {error.strerror or error}")

    def _open_by_path(self, parts: tuple[str, ...]) -> BinaryIO:
        for count in range(1, len(parts) + 1):
            self._require(parts[:count], stat.S_ISREG if count == len(parts) else stat.S_ISDIR, None)
        return self.path.joinpath(*parts).open("rb")
