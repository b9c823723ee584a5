"""The run folder that a training writes: begun, resumed or replaced, and kept from other trainings."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from edgemate.config import Recipe
from edgemate.distributed.world import World
from edgemate.durable import make_folder, remove_leftovers
from edgemate.errors import RunError
from edgemate.locks import LOCK_FILE, lock_file
from edgemate.runs import Run, environment_metadata
from edgemate.runs.blank import is_blank
from edgemate.swapping import new_folder, put_in_place, recover
from edgemate.training.resuming import Extension, open_to_resume
from edgemate.training.run_place import one_training

# A training of a comparison that was killed ends by itself, a moment later.
_WAIT_SECONDS = 10.0
# Of a folder that is mounted, or in one that cannot be written to.
_NOT_REPLACED = (errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS)


class Place:
    """A run folder, locked from when it is opened or begun until it is closed.

    Args:
        path: the folder.
        world: the processes that train together; rank 0 calls the methods.
    """

    def __init__(self, path: Path, world: World) -> None:
        self.path, self._world = path, world
        self._stack = ExitStack()

    def resume(self, recipe: Recipe) -> tuple[Run | None, Extension | None]:
        """The run to resume, and what changes in it; no run where none was begun.

        Raises:
            RunError: as `open_to_resume`, or another process trains there.
        """
        recover(self.path)
        if is_blank(self.path):
            return None, None
        if Run(self.path).recipe_path.is_file():
            self._lock(self.path)
        run, extension = open_to_resume(recipe, self.path)
        remove_leftovers(self.path.parent, self.path.name)
        remove_leftovers(self.path, deep=True)
        if not run.environment_path.is_file():
            self._write_environment(run)
        return run, extension

    def begin(self, write: Callable[[Run], None], *, replace: bool) -> Run:
        """A new run. With `replace` it takes the place of the run that is there, which is removed then.

        Args:
            write: called with it, to write its recipe.
            replace: whether a run may be there.

        Raises:
            RunError: the folder is taken, or another process trains there.
        """
        recover(self.path)
        if replace and not is_blank(self.path):
            Run.open(self.path, finished=False, any_format=True)  # never delete a folder that is not a run
            self._lock(self.path)
            if self._replace(write):
                return Run(self.path)
            _clear(self.path)
        else:
            Run.create(self.path)
            self._lock(self.path)
            Run.create(self.path)  # another training may have begun before it was locked
        remove_leftovers(self.path.parent, self.path.name)
        remove_leftovers(self.path)
        run = Run(self.path)
        self._write_environment(run)
        write(run)
        return run

    def tidy(self) -> None:
        """Delete what a finished training had still to delete when it was killed."""
        run = Run(self.path)
        run.progress_path.unlink(missing_ok=True)
        shutil.rmtree(run.path / "cache", ignore_errors=True)

    def close(self) -> None:
        """Release the lock."""
        self._stack.close()

    def _replace(self, write: Callable[[Run], None]) -> bool:
        """Whether a new folder has taken the run's place; False where it cannot, as a mounted one."""
        target = self.path.resolve()  # of a link the folder that it leads to
        try:
            with new_folder(target) as made:
                # The lock is on the file, so it holds when the folder has its name.
                self._lock(made)
                self._write_environment(Run(made))
                write(Run(made))
                put_in_place(made, target)
        except OSError as error:
            if error.errno not in _NOT_REPLACED:  # such as a full disk, on which the old run stays
                raise
            return False
        return True

    def _write_environment(self, run: Run) -> None:
        run.write_environment(environment_metadata(self._world.to_json() if self._world.ranks > 1 else None))

    def _lock(self, path: Path) -> None:
        with one_training(self.path):
            make_folder(path)
            self._stack.enter_context(lock_file(path, seconds=_WAIT_SECONDS))


def _clear(path: Path) -> None:
    """Delete a run in its folder. It counts as unfinished from the first file on, and as a run until the last."""
    run = Run(path)
    run.delete_results()
    kept = (run.recipe_path.name, LOCK_FILE)
    for entry in path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name not in kept:
            entry.unlink()
    run.recipe_path.unlink()
    if not is_blank(path):
        raise RunError(f"{path}: cannot be replaced: its files cannot be deleted; choose another folder")
