"""Where datasets are on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from edgemate.errors import DataError


def data_root(root: str | None) -> Path:
    """The folder of named datasets: `root`, else $EDGEMATE_DATA, else ~/.cache/edgemate/data."""
    return Path(root or os.environ.get("EDGEMATE_DATA") or "~/.cache/edgemate/data").expanduser()


def locate(path: str, key: str = "data.options.path") -> Path:
    """A file or folder that a recipe names: relative to the current folder, else to the data root.

    Args:
        path: the file or folder.
        key: of the recipe that names it, for messages.

    Raises:
        DataError: neither exists, or the system refuses to look.
    """
    given = Path(path).expanduser()
    rooted = data_root(None) / given
    for candidate in (given, rooted):
        try:
            if candidate.exists():
                return candidate
        except OSError as error:  # a name that is too long, or a folder that may not be searched
            raise DataError(f"{key}: {candidate} cannot be read ({error.strerror})") from error
    places = str(given) if given.is_absolute() else f"{given} (from {Path.cwd()}), nor {rooted}"
    raise DataError(f"no such file or folder: {places}; set {key} to one that exists, or set EDGEMATE_DATA")
