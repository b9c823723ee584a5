"""Opened objects from what a caller gives: a path, or the object itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeGuard, Union

if TYPE_CHECKING:
    from edgemate.bundle import Bundle
    from edgemate.config import Recipe
    from edgemate.runs import Run

PathLike: TypeAlias = Union[str, "os.PathLike[str]"]
BundleLike: TypeAlias = Union[PathLike, "Bundle"]
RunLike: TypeAlias = Union[PathLike, "Run"]
RecipeLike: TypeAlias = Union[PathLike, "Recipe"]


def open_bundle(given: BundleLike, *, verify: bool = True) -> Bundle:
    """The bundle itself, or the one in a folder, with its hashes checked if `verify`. Raises BundleError."""
    from edgemate.bundle import Bundle

    return given if isinstance(given, Bundle) else Bundle.open(os.fspath(given), verify=verify)


def open_run(given: RunLike, *, finished: bool = True) -> Run:
    """The run itself, or the one in a folder, whose training must have ended if `finished`. Raises RunError."""
    from edgemate.runs import Run

    return Run.open(given.path if isinstance(given, Run) else os.fspath(given), finished=finished)


def is_run_folder(given: BundleLike) -> TypeGuard[PathLike]:
    """Whether this is the folder of a run, and not of a bundle."""
    from edgemate.bundle import Bundle

    if isinstance(given, Bundle):
        return False
    path = Path(given)
    return (path / "recipe.yaml").is_file() and not (path / "bundle.json").is_file()


def open_either(given: BundleLike | RunLike, *, verify: bool = True, finished: bool = True) -> Bundle | Run:
    """The bundle or the run in a folder.

    Raises:
        UsageError: the folder is neither.
        BundleError: it is a bundle that cannot be used.
        RunError: it is a run that cannot be used.
    """
    from edgemate.bundle import Bundle
    from edgemate.errors import UsageError
    from edgemate.runs import Run

    if isinstance(given, Bundle):
        return given
    if isinstance(given, Run):
        return open_run(given, finished=finished)
    path = Path(given)
    if (path / "bundle.json").is_file():
        return open_bundle(path, verify=verify)
    if (path / "recipe.yaml").is_file():
        return open_run(path, finished=finished)
    raise UsageError(f"{path}: is neither a bundle (a folder with bundle.json) nor a run (one with recipe.yaml)")
