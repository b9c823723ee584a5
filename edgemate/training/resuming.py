"""Going on with a run: from its last checkpoint, with as many epochs as it was begun with, or another number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgemate.config import Recipe
from edgemate.errors import RunError
from edgemate.runs import Run
from edgemate.training.checkpoints import CheckpointFiles
from edgemate.training.run_place import EPOCHS, begun_run
from edgemate.training.schedules import learning_rate
from edgemate.wording import counted


@dataclass(frozen=True)
class Extension:
    """A run that goes on to another number of epochs than it was begun with.

    Attributes:
        begun: the recipe so far.
        recipe: the recipe from now on.
        done: epochs in the checkpoint that it goes on from.
    """

    begun: Recipe
    recipe: Recipe
    done: int

    def describe(self, steps_per_epoch: int) -> str:
        """One sentence: what becomes of the epochs and of the learning rate."""
        was, now = self.begun.optimization, self.recipe.optimization
        said = f"goes on after epoch {self.done} to {counted(now.epochs, 'epoch')} instead of {was.epochs}"
        if not 0 < self.done < now.epochs:
            return said
        step = 0.5 / steps_per_epoch
        before, after = learning_rate(was)(self.done - step), learning_rate(now)(self.done + step)
        moved = f"goes from {before:.3g} to {after:.3g}" if f"{before:.3g}" != f"{after:.3g}" else f"stays {after:.3g}"
        return (
            f"{said}; schedule {now.schedule} is laid out anew over all of them, so the learning rate {moved} at epoch "
            f"{self.done + 1}"
        )


def open_to_resume(recipe: Recipe, path: Path) -> tuple[Run, Extension | None]:
    """The run in a folder, and what changes where its recipe asks for another number of epochs.

    Raises:
        RunError: there is no run; it was begun with a recipe that differs in more than the epochs; it has more epochs
            already; or it is finished, and without a checkpoint to go on from.
    """
    run, begun = begun_run(recipe, path)
    if begun == recipe:
        return run, None
    checkpoint = run.checkpoints_path / "last.ckpt"
    if run.finished and not checkpoint.exists():
        raise RunError(f"{path}: is finished, and {checkpoint} to go on from is not there; `overwrite` trains it anew")
    done = _epochs_done(checkpoint)
    if recipe.optimization.epochs < done:
        raise RunError(
            f"{path}: has {counted(done, 'epoch')} already, which is more than {EPOCHS}={recipe.optimization.epochs}; "
            f"resume with {done} or more"
        )
    return run, Extension(begun, recipe, done)


def _epochs_done(checkpoint: Path) -> int:
    if not checkpoint.exists():
        return 0
    stored = CheckpointFiles().load_checkpoint(checkpoint, map_location="cpu", weights_only=True)
    return int(stored["epoch"]) + 1
