"""Folders in which a run can begin: what a training leaves there that was killed before it wrote its recipe."""

from __future__ import annotations

from pathlib import Path

from edgemate.durable import is_leftover
from edgemate.locks import LOCK_FILE

# What a training writes before `recipe.yaml`, which makes the folder a run.
_BEFORE_THE_RECIPE = (LOCK_FILE, "environment.json", "plug_ins.json")


def is_blank(path: Path) -> bool:
    """Whether a run can begin there: the folder is absent, empty, or has only what a killed start has left."""
    if not path.exists():
        return not path.is_symlink()
    if not path.is_dir():
        return False
    return all(entry.name in _BEFORE_THE_RECIPE or is_leftover(entry) for entry in path.iterdir())
