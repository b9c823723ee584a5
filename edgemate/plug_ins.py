"""Where the modules of a user's own parts are searched: beside the recipe that names them, without PYTHONPATH.

The folders come last on `sys.path`. So a module that is installed wins over one beside the recipe of the same name, and
a file such as `random.py` there cannot replace what libraries import.

A recipe is the user's own, and names what it likes. A run may come from anywhere, and what its recipe names is imported
only where the user says so, or where the user's own recipe names the same.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.machinery import PathFinder
from pathlib import Path

_beside: list[Path] = []
"""Folders of the recipe that was read last, its own before those of the files it extends."""

_searched: list[str] = []
"""What this module has put on `sys.path`, the newest first."""


ALLOWED_IN_RUNS = "EDGEMATE_ALLOW_PLUGINS"
"""The environment variable that says so, for this process and for those that it starts."""

_named: set[str] = set()
"""Dotted paths in the recipes of the user's own that this process has read."""


@contextlib.contextmanager
def allowed_in_runs(allowed: bool = True) -> Iterator[None]:
    """Let the recipes of runs name code while the block runs, if `allowed`; else nothing changes."""
    if not allowed:
        yield
        return
    before = os.environ.get(ALLOWED_IN_RUNS)
    os.environ[ALLOWED_IN_RUNS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[ALLOWED_IN_RUNS]
        else:
            os.environ[ALLOWED_IN_RUNS] = before


def are_allowed_in_runs() -> bool:
    """Whether the recipes of runs may name code."""
    return os.environ.get(ALLOWED_IN_RUNS, "") not in ("", "0")


def add_named_by_user(paths: Iterable[str]) -> None:
    """Remember the dotted paths in a recipe of the user's own."""
    _named.update(paths)


def named_by_user() -> frozenset[str]:
    """The dotted paths in the recipes of the user's own that this process has read."""
    return frozenset(_named)


def look_beside(folders: Iterable[Path]) -> None:
    """Search these folders from the next dotted path on, before the folders of recipes that were read earlier."""
    _beside[:] = dict.fromkeys(folder.absolute() for folder in folders)


def also_look_in(folders: Iterable[Path]) -> None:
    """Search these folders too, after those of the recipe that was read last."""
    look_beside([*_beside, *folders])


def activate() -> None:
    """Put the folders on `sys.path`, for the rest of the process. Called where a dotted path is met."""
    wanted = [str(folder) for folder in _beside if folder.is_dir()]
    if _searched[: len(wanted)] == wanted and all(folder in sys.path for folder in wanted):
        return
    others = [entry for entry in sys.path if entry not in _searched]
    wanted = [folder for folder in wanted if folder not in others]
    _searched[:] = dict.fromkeys([*wanted, *_searched])
    sys.path[:] = [*others, *_searched]
    importlib.invalidate_caches()


def searched() -> list[Path]:
    """The folders that are searched besides Python's own path, in this order."""
    return list(dict.fromkeys([*_beside, *map(Path, _searched)]))


def clash(module: str) -> str | None:
    """Why a module cannot be loaded from beside this recipe: one of its name was loaded from beside another."""
    top = module.partition(".")[0]
    loaded, wanted = _place(sys.modules.get(top)), _find(top)
    if loaded is None or wanted is None or loaded == wanted or not {str(loaded[0]), str(wanted[0])} & {*_searched}:
        return None
    return f"{loaded[1]} is loaded already, and {wanted[1]} has the same name; rename one, or use another process"


def hint(module: str) -> str:
    """What to add to the message about a module that is missing or lacks a name, if there is anything."""
    top = module.partition(".")[0]
    found = _place(sys.modules.get(top)) or _find(top)
    for folder in _beside:
        for file in (folder / f"{top}.py", folder / top / "__init__.py"):
            if found is not None and file.is_file() and found[0] != folder:
                return f"; {file} is not used, as an installed module has its name: rename it"
    if found is not None or top in sys.builtin_module_names or not _beside:
        return ""
    places = ", ".join(str(folder) + ("" if folder.is_dir() else " (not there any more)") for folder in _beside)
    return f"; searched in {places} and on Python's path, which PYTHONPATH adds to"


def folder_of(module: str) -> Path | None:
    """The folder that a module's top-level package or file is in; None where that is installed or not known."""
    top = module.partition(".")[0]
    found = _place(sys.modules.get(top)) or _find(top)
    if found is None:
        return None
    installed = {Path(path) for path in sysconfig.get_paths().values()}
    return None if found[0] in installed else found[0]


def files_of(module: str) -> list[Path]:
    """The Python files of the top-level file or package that a module belongs to, sorted; none where it is unknown."""
    top = module.partition(".")[0]
    found = _place(sys.modules.get(top)) or _find(top)
    if found is None:
        return []
    file = found[1]
    package = file.parent if file.stem == "__init__" else file
    return sorted(package.rglob("*.py")) if package.is_dir() else [file]


def _place(module: object) -> tuple[Path, Path] | None:
    """The folder of a loaded top-level module, and its file."""
    file = getattr(module, "__file__", None)
    return None if file is None else _folder_and_file(file)


def _find(top: str) -> tuple[Path, Path] | None:
    """The same of one that would be loaded."""
    try:
        spec = PathFinder.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.origin is None:  # a package without __init__.py
        place = next(iter(spec.submodule_search_locations or ()), None)
        return None if place is None else (Path(place).absolute().parent, Path(place).absolute())
    return _folder_and_file(spec.origin)


def _folder_and_file(file: str) -> tuple[Path, Path]:
    path = Path(file).absolute()
    return (path.parent.parent if path.stem == "__init__" else path.parent), path
