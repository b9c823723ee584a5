"""The folder of a comparison, which one process at a time writes."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgemate.durable import make_folder, remove_leftovers
from edgemate.errors import RunError
from edgemate.file_group import finish_groups
from edgemate.locks import HeldError, check_lock_file, lock_file
from edgemate.runs import Run


@contextmanager
def comparing_in(output: Path) -> Iterator[None]:
    """Keep other comparisons out of a folder in this block. What killed ones left there is finished or removed.

    Raises:
        RunError: another process compares there; the message names it.
        OSError: the folder cannot be written to.
    """
    make_folder(output)
    with _named(output), lock_file(output):
        finish_groups(output)
        for folder in (output, output / "recipes"):
            remove_leftovers(folder)
        yield


def check_nobody_compares_in(output: Path) -> None:
    """Raise RunError if another process compares in a folder, which may be absent."""
    with _named(output):
        check_lock_file(output)


RESULTS = ("comparison.json", "comparison.md", "comparison.png", "comparison.html", "gains.md", "gains.json")
"""What a comparison writes into its folder when all runs are done."""


def check_inside(output: Path, runs: Sequence[Run]) -> None:
    """Check that what a comparison writes stays in its folder, and that nothing else has the place of what it writes.

    Raises:
        RunError: a folder that it writes to, a run or a log is a link or of another kind; the message names it.
    """
    places = [output / name for name in ("recipes", "logs", "trials")]
    for folder in (*places, *(run.path for run in runs)):
        _require(folder, stat.S_ISDIR, "a folder")
    for run in runs:
        _require(log_path(output, run), stat.S_ISREG, "a file")
    for name in RESULTS:
        path = output / name
        if path.is_dir() and not path.is_symlink():  # anything else is replaced
            raise RunError(f"{path}: is a folder, where the comparison writes a file; move it away")


def log_path(output: Path, run: Run) -> Path:
    """Where what the training of a run prints is kept."""
    return output / "logs" / f"{run.name}.log"


def _require(path: Path, is_kind: Callable[[int], bool], kind: str) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        raise RunError(f"{path}: is a link; a comparison writes into its own folder only: move it away, or copy it")
    if not is_kind(mode):
        raise RunError(f"{path}: is not {kind}; move it away")


@contextmanager
def _named(output: Path) -> Iterator[None]:
    try:
        yield
    except HeldError as error:
        raise RunError(f"{output}: {error} is writing this comparison; wait until it has ended, or end it") from error
