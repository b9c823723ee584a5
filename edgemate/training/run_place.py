"""The folder that a run is to be written into, looked at before anything is trained."""

from __future__ import annotations

from pathlib import Path

from edgemate import files
from edgemate.config import Recipe
from edgemate.errors import RunError
from edgemate.runs import Run


def check_run_place(recipe: Recipe, path: Path, *, resume: bool = False, replace: bool = False) -> None:
    """Look whether `train` can write a run there. Arguments are those of `train`.

    Raises:
        RunError: something is there already that is neither to be gone on with nor to be replaced.
        OSError: the folder cannot be written to.
    """
    if resume and path.exists():
        open_to_resume(recipe, path)
    elif replace and path.exists():
        Run.open(path, finished=False)  # a folder that is no run is never deleted
    elif path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunError(f"{path}: is there already; --resume goes on with it, --force starts it anew")
    files.check_folder(path)


def open_to_resume(recipe: Recipe, path: Path) -> Run:
    """The run that was begun there. Raises RunError where there is none, or it is one of another recipe."""
    run = Run.open(path, finished=False)
    if run.read_recipe() != recipe:
        raise RunError(f"{path}: was begun with another recipe ({run.recipe_path}); resume with that one")
    return run
