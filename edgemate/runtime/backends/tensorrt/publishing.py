"""Engines of a layout take their place together: no reader finds some new and some old ones."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgemate.runtime.backends.tensorrt.engine_metadata import metadata_path
from edgemate.runtime.backends.tensorrt.loading import EngineFile
from edgemate.swapping import new_folder, put_in_place


def publish(engines: Sequence[EngineFile], folder: Path) -> list[EngineFile]:
    """Move engines and their metadata into a folder, in place of those of the same names; the others in it stay.

    The folder is replaced by one that has both, so a kill leaves it as it was or as it is meant to be.

    Args:
        engines: built and checked; those that are in the folder already stay there.
        folder: of the device and library that they are for.

    Returns:
        The engines at their new paths, in the same order.

    Raises:
        OSError: they cannot be moved; the folder is as it was.
    """
    published = [replace(engine, path=folder / engine.path.name) for engine in engines]
    moving = [engine for engine in engines if engine.path.parent != folder]
    if not moving:
        return published
    new = {path.name: path for engine in moving for path in (engine.path, metadata_path(engine.path))}
    kept = {path.name: path for path in folder.iterdir() if path.is_file()} if folder.is_dir() else {}
    with new_folder(folder) as made:
        for name, path in {**kept, **new}.items():
            _add(path, made / name)
        put_in_place(made, folder)
    for engine in moving:
        metadata_path(engine.path).unlink(missing_ok=True)
        engine.path.unlink(missing_ok=True)
    return published


def _add(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except OSError:  # a disk without hard links
        shutil.copy2(path, to)
