"""How a run stores the folders of a user's own modules: without the home folder, since runs are shared."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from edgemate import plug_ins
from edgemate.runs.stored_json import StoredFolder


def stored_folders(modules: Iterable[str], run: Path) -> list[dict[str, str]]:
    """The folder of each module as JSON values: absolute with `~` for the home folder, and relative to the run's.

    Those of installed modules are left out.
    """
    home, entries = Path.home(), {}
    for module in modules:
        top, folder = module.partition(".")[0], plug_ins.folder_of(module)
        if folder is not None:
            inside = folder.is_relative_to(home) and home != Path("/")
            shown = (Path("~") / folder.relative_to(home)).as_posix() if inside else str(folder)
            entries[top] = {"module": top, "folder": shown, "from_run": os.path.relpath(folder, run.absolute())}
    return list(entries.values())


def found_folders(stored: Iterable[StoredFolder], run: Path) -> list[Path]:
    """Where these folders are now: at their place, or, moved with the run, at the same place from it."""
    found = []
    for entry in stored:
        place, from_run = _at_home(entry.folder), (run.absolute() / entry.from_run).resolve()
        moved = not _has(place, entry.module) and _has(from_run, entry.module)
        found.append(from_run if moved else place)
    return list(dict.fromkeys(found))


def _at_home(folder: str) -> Path:
    """The folder with `~` replaced, where that is somebody's home."""
    try:
        return Path(folder).expanduser()
    except RuntimeError:
        return Path(folder)


def _has(folder: Path, module: str) -> bool:
    return (folder / module).is_dir() or (folder / f"{module}.py").is_file()
