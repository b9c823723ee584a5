"""The folder that a run is to be written into, looked at before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgemate import files
from edgemate.config import Recipe
from edgemate.config.schema import FILLED_BY_WEIGHTS
from edgemate.errors import RunError
from edgemate.locks import HeldError, check_lock_file
from edgemate.runs import Run
from edgemate.runs.blank import is_blank
from edgemate.swapping import recover

# What depends on the epochs may change with them.
EPOCHS = "optimization.epochs"
_WITH_THE_EPOCHS = {EPOCHS, "optimization.warmup_epochs", "optimization.schedule_options.milestones"}


def check_run_place(recipe: Recipe, path: Path, *, resume: bool = False, replace: bool = False) -> bool:
    """Look whether `train` can write a run there. Arguments are those of `train`.

    A folder in which a training was killed before it wrote its recipe counts as empty.

    Returns:
        Whether there is anything to train: a finished run of the same recipe needs nothing more.

    Raises:
        RunError: the folder is taken, and is neither to be resumed nor to be replaced; or another process trains there.
        OSError: the folder cannot be written to.
    """
    recover(path)
    files.check_folder(path)
    with one_training(path):
        check_lock_file(path)
    if is_blank(path):
        return True
    if resume:
        recipe = _with_defaults_of_run(recipe, path)
        run, begun = begun_run(recipe, path)
        return not run.finished or begun != recipe
    if not replace:
        raise RunError(f"{path}: already exists; `resume` continues it, `overwrite` trains it anew")
    Run.open(path, finished=False, any_format=True)  # a folder that is not a run is never deleted
    return True


@contextmanager
def one_training(path: Path) -> Iterator[None]:
    """Turn the error about a lock that another process holds into one about the run in folder `path`."""
    try:
        yield
    except HeldError as error:
        raise RunError(f"{path}: {error} is training this run; wait until it has ended, or end it") from error


def begun_run(recipe: Recipe, path: Path) -> tuple[Run, Recipe]:
    """The run in a folder, and the recipe that it was begun with, which may have another number of epochs.

    Raises:
        RunError: there is no run, or its recipe differs in more than the epochs.
    """
    run = Run.open(path, finished=False)
    begun = run.read_recipe()
    differing = set(_differences(begun.model_dump(mode="json"), recipe.model_dump(mode="json")))
    others = differing - _WITH_THE_EPOCHS if EPOCHS in differing else differing
    if others:
        raise RunError(
            f"{path}: was begun with another recipe ({run.recipe_path}), which differs in {', '.join(sorted(others))}; "
            f"resume with that one, in which only {EPOCHS} may change"
        )
    return run, begun


def _with_defaults_of_run(recipe: Recipe, path: Path) -> Recipe:
    """The recipe as training will complete it from its weights, whose library takes seconds to import.

    What the weights would give is taken from the run that is there; training itself compares again.
    """
    if recipe.model.weights is None:
        return recipe
    begun = Run.open(path, finished=False).read_recipe().data
    filled = {name: getattr(begun, name) for name in FILLED_BY_WEIGHTS if getattr(recipe.data, name) is None}
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=filled)})


def _differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Paths of the keys in which two trees differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys([*one, *other]):
            yield from _differences(one.get(key), other.get(key), f"{path}.{key}" if path else str(key))
    elif one != other:
        yield path
