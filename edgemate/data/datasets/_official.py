"""Datasets that lie below the data root as their authors publish them: what must be there, and what it holds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from edgemate.core.image_search import IMAGE_SUFFIXES
from edgemate.data.root import data_root
from edgemate.errors import DataError


@dataclass(frozen=True)
class Published:
    """A dataset's files as its authors publish them.

    Attributes:
        name: the registered name, for messages.
        folder: below the data root.
        holds: what must be in the folder, for messages.
        origin: where to get it, for messages.
    """

    name: str
    folder: str
    holds: str
    origin: str

    def located(self, root: str | None, *required: str) -> Path:
        """The dataset's folder, below `root` or else the data root.

        Args:
            root: as the option of that name.
            required: files and folders that it must have.

        Raises:
            DataError: it or one of `required` is missing.
        """
        folder = data_root(root) / self.folder
        if not folder.is_dir():
            raise self.missing(root, f"there is no folder {folder}")
        for place in required:
            if not (folder / place).exists():
                raise self.missing(root, f"{folder / place} is missing")
        return folder

    def missing(self, root: str | None, reason: str) -> DataError:
        """The error for an incomplete folder: what is missing, where to get it, how the folder must look."""
        return DataError(
            f"dataset {self.name} cannot be loaded ({reason}): get {self.origin}, unpacked so that "
            f"{data_root(root) / self.folder} holds {self.holds}; for another place than {data_root(root)} set "
            "data.options.root or EDGEMATE_DATA"
        )


class FileNames(Sequence[Path]):
    """Paths below one folder, stored as short names: a million Path objects would take most of a gigabyte.

    Args:
        folder: of all files.
        names: relative to it.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder = folder
        self._names = names

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> FileNames: ...
    def __getitem__(self, index: int | slice) -> Path | FileNames:
        if isinstance(index, slice):
            return FileNames(self._folder, self._names[index])
        return self._folder / self._names[index]


def folders_in(folder: Path) -> list[str]:
    """Sorted names of the folders directly in a folder; hidden ones are skipped."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def images_in(folder: Path) -> list[str]:
    """Sorted names of the image files directly in a folder, by suffix; hidden ones are skipped."""
    with os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if not entry.name.startswith(".")
            and os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - a million times
            and entry.is_file()
        )


def rows(path: Path, columns: str, separator: str | None = None) -> Iterator[list[str]]:
    """The fields of every line of a list in a text file; empty lines are skipped.

    Args:
        path: the file, in UTF-8.
        columns: their names, separated by spaces. The last one takes the rest of the line.
        separator: of the fields; any white space if None.

    Raises:
        DataError: the file cannot be read, or a line has fewer fields. The message has its number.
    """
    count = len(columns.split())
    for number, line in enumerate(read_lines(path), 1):
        fields = line.split(separator, count - 1)
        if len(fields) == count:
            yield fields
        elif fields and fields != [""]:
            raise DataError(f"{path}, line {number}: is {line!r}; {columns} is required; unpack the dataset again")


def read_lines(path: Path) -> list[str]:
    """The lines of a text file in UTF-8, without white space at their ends. Raises DataError if it cannot be read."""
    try:
        return [line.strip() for line in path.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}: cannot be read ({reason}); unpack the dataset again") from error
