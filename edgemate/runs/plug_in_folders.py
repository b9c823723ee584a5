"""How a run stores the folders of a user's own modules: without the home folder, since runs are shared."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def stored_folders(folders: Sequence[Path], run: Path) -> dict[str, Any]:
    """The folders as JSON values: absolute with `~` for the home folder, and relative to the run's folder."""
    home, entries = Path.home(), []
    for folder in folders:
        inside = folder.is_relative_to(home) and home != Path("/")
        shown = (Path("~") / folder.relative_to(home)).as_posix() if inside else str(folder)
        entries.append({"folder": shown, "from_run": os.path.relpath(folder, run.absolute())})
    return {"folders": entries}


def found_folders(stored: Mapping[str, Any], run: Path) -> list[Path]:
    """Where these folders are now: at their place, or, moved with the run, at the same place from it."""
    found = []
    for entry in stored.get("folders", ()):
        place, from_run = Path(entry["folder"]).expanduser(), run.absolute() / entry["from_run"]
        found.append(from_run.resolve() if not place.is_dir() and from_run.is_dir() else place)
    return found
