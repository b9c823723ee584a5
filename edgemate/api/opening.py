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


def open_bundle(
    given: BundleLike, *, verify: bool = True, trusted_keys: PathLike | None = None, trust_engines: bool = False
) -> Bundle:
    """The bundle itself, or the one in a folder, with its hashes checked if `verify`. Other arguments: `Bundle.open`.

    A Bundle is opened anew where it is to be trusted otherwise than it was.

    Raises:
        BundleError: it cannot be used, or is not signed by one of the keys.
    """
    from edgemate.bundle import Bundle

    if isinstance(given, Bundle) and trusted_keys is None and not trust_engines:
        return given
    path = given.path if isinstance(given, Bundle) else os.fspath(given)
    return Bundle.open(path, verify=verify, trusted_keys=trusted_keys, trust_engines=trust_engines)


def open_run(given: RunLike, *, finished: bool = True, allow_plugins: bool = False) -> Run:
    """The run itself, or the one in a folder, whose training must have ended if `finished`. Raises RunError."""
    from edgemate.runs import Run

    allowed = allow_plugins or (isinstance(given, Run) and given.allow_plugins)
    path = given.path if isinstance(given, Run) else os.fspath(given)
    return Run.open(path, finished=finished, allow_plugins=allowed)


def is_run_folder(given: BundleLike) -> TypeGuard[PathLike]:
    """Whether this is the folder of a run, and not of a bundle."""
    from edgemate.bundle import Bundle

    if isinstance(given, Bundle):
        return False
    path = Path(given)
    return (path / "recipe.yaml").is_file() and not (path / "bundle.json").is_file()


def open_either(
    given: BundleLike | RunLike,
    *,
    verify: bool = True,
    finished: bool = True,
    trusted_keys: PathLike | None = None,
    trust_engines: bool = False,
    allow_plugins: bool = False,
) -> Bundle | Run:
    """The bundle or the run in a folder. Arguments are those of `open_bundle` and `open_run`.

    Raises:
        UsageError: the folder is neither, or it is a run and `trusted_keys` are given, which sign bundles.
        BundleError: it is a bundle that cannot be used.
        RunError: it is a run that cannot be used.
    """
    from edgemate.bundle import Bundle
    from edgemate.errors import UsageError
    from edgemate.runs import Run

    path = given.path if isinstance(given, (Bundle, Run)) else Path(given)
    if isinstance(given, Bundle) or (not isinstance(given, Run) and (path / "bundle.json").is_file()):
        return open_bundle(given, verify=verify, trusted_keys=trusted_keys, trust_engines=trust_engines)
    if isinstance(given, Run) or (path / "recipe.yaml").is_file():
        if trusted_keys is not None:
            raise UsageError(f"{path}: `trusted_keys` sign bundles, and this is a run")
        return open_run(given, finished=finished, allow_plugins=allow_plugins)
    raise UsageError(f"{path}: is neither a bundle (a folder with bundle.json) nor a run (one with recipe.yaml)")
