"""Finding image files in folders, in training and on the device alike."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from edgemate.errors import DataError, UsageError
from edgemate.limits import Limit
from edgemate.wording import counted

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})

# Folders that operating systems, archivers and Python add. Their names start with no dot.
_JUNK_FOLDERS = frozenset(
    {"$RECYCLE.BIN", "@eaDir", "System Volume Information", "__MACOSX", "__pycache__", "lost+found"}
)
_KINDS_NAMED = 5


def find_images(folder: Path, limit: Limit | None = None) -> list[Path]:
    """All image files below a folder, by suffix, sorted; hidden files and folders are skipped.

    Raises:
        DataError: with a limit, more files than that are looked at.
    """
    found = []
    for number, (entry, image) in enumerate(walk(folder), start=1):
        if limit is not None and number > limit.most:
            raise DataError(f"{folder}: {limit.exceeded()}; name the folder that holds the images")
        if image:
            found.append(entry)
    return sorted(found)


def check_no_root(folder: Path) -> None:
    """Raise UsageError for the root of a file system, which would be searched for minutes: hardly what was meant."""
    whole = folder.resolve()
    if whole == whole.parent:
        raise UsageError(f"{folder}: is the root of the file system; name the folder that holds the images")


def class_folders(folder: Path) -> list[Path]:
    """The folders directly in a folder, sorted, without those that `is_ignored_folder` names."""
    return sorted(entry for entry in folder.iterdir() if not is_ignored_folder(entry.name) and entry.is_dir())


def class_name(folder: Path) -> str:
    """The class of a folder: its name in Unicode's form NFC, since macOS may store the same name in another form."""
    return unicodedata.normalize("NFC", folder.name)


def is_ignored_folder(name: str) -> bool:
    """Whether a folder's name says that it holds no images of the user: hidden, or made by a system or an archiver."""
    return name.startswith(".") or name in _JUNK_FOLDERS


def walk(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Every file below a folder, in no order, and whether it is an image file: by its suffix, and not hidden.

    A folder that is ignored comes as one entry and is not entered. Symbolic links are followed, each folder once. A
    broken link with an image's suffix, one to itself included, is an image file, so that it is reported as missing
    instead of skipped. A folder below that is removed meanwhile is skipped.
    """
    entered = set()
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            status = here.stat()
            if (status.st_dev, status.st_ino) in entered:
                continue
            found = os.scandir(here)
        except FileNotFoundError:
            if here == folder:
                raise
            continue
        entered.add((status.st_dev, status.st_ino))
        with found as entries:
            for entry in entries:
                path = Path(entry.path)
                # An entry's own is_dir raises OSError for a link to itself; a path's costs a call to the system.
                if not (path if entry.is_symlink() else entry).is_dir():
                    yield path, not entry.name.startswith(".") and path.suffix.lower() in IMAGE_SUFFIXES
                elif is_ignored_folder(entry.name):
                    yield path, False
                else:
                    waiting.append(path)


def kinds_of(paths: Iterable[Path]) -> str:
    """What files that are no images are, most frequent first: `12 × .txt, 3 × .DS_Store, 1 × __MACOSX`."""
    found = sorted(Counter(map(_kind, paths)).items(), key=lambda item: (-item[1], item[0]))
    named = [f"{count:,} × {kind}" for kind, count in found[:_KINDS_NAMED]]
    rest = sum(count for _, count in found[_KINDS_NAMED:])
    return ", ".join([*named, f"{counted(rest, 'other')}"] if rest else named)


def _kind(path: Path) -> str:
    if not path.suffix:
        return path.name
    return f"hidden {path.suffix}" if path.name.startswith(".") else path.suffix
