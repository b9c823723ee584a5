"""The trainings of a comparison: what each one is, how its process starts, and how far it is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgemate import plug_ins
from edgemate.errors import TrainingError, UsageError
from edgemate.machine import usable_cores
from edgemate.progress import duration
from edgemate.runs import Run

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

DIVERGED = 3
"""Exit code of a training whose loss was not finite; other errors have 2."""


@dataclass(frozen=True)
class Training:
    """One run to train.

    Attributes:
        name: name of the run.
        recipe: file of the resolved recipe.
        folder: folder of the run; an unfinished run in it is resumed.
        log: file to which the command's output is appended.
    """

    name: str
    recipe: Path
    folder: Path
    log: Path

    def start(
        self,
        threads: int,
        *,
        variables: Mapping[str, str] | None = None,
        folders: Sequence[Path] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start the process, which ends when this one does.

        Args:
            threads: CPU threads of the training.
            variables: environment variables that differ from this process's, such as CUDA_VISIBLE_DEVICES.
            folders: where the modules of dotted paths are searched; those of this process if None.
            cwd: what relative paths in the recipe are relative to; the current folder if None.
        """
        command = [sys.executable, "-m", "edgemate.comparison.worker", str(self.recipe), str(self.folder)]
        command += map(str, plug_ins.searched() if folders is None else folders)
        environment = os.environ | dict.fromkeys(_THREAD_VARIABLES, str(threads)) | {"COLUMNS": "160"}
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment | dict(variables or {}),
                cwd=cwd,
            )

    def last_log_line(self) -> str:
        """The last line of the log."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        except FileNotFoundError:
            lines = []
        return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")


@dataclass(frozen=True)
class Failure:
    """A training that failed.

    Attributes:
        training: the training.
        reason: one line, such as the last one of its log.
        diverged: its loss was not finite, so training it again would fail again.
    """

    training: Training
    reason: str
    diverged: bool = False


def failed_trainings(failures: Sequence[Failure]) -> TrainingError:
    """The error that reports them all."""
    first, others = failures[0], [failure.training.name for failure in failures[1:]]
    also = f"; failed as well: {', '.join(others)}" if others else ""
    return TrainingError(
        f"{first.training.name}: its training failed: {first.reason} (log: {first.training.log}){also}; "
        "finished runs are kept, and the same command resumes the rest"
    )


def threads_each(jobs: int) -> int:
    """CPU threads per training: $OMP_NUM_THREADS if it is set, else the usable cores divided by `jobs`.

    Raises:
        UsageError: the variable is not a positive integer.
    """
    return threads_set() or max(1, usable_cores() // jobs)


def threads_set() -> int | None:
    """$OMP_NUM_THREADS; None if it is not set. Raises UsageError if it is not a positive integer."""
    given = os.environ.get("OMP_NUM_THREADS")
    if not given:
        return None
    if not given.isdecimal() or int(given) < 1:
        raise UsageError(f"OMP_NUM_THREADS is {given!r}; set it to a number of threads, such as 1, or unset it")
    return int(given)


def progress_line(training: Training) -> str:
    """Name, epoch, step and time left of a running training, or what else it does, as far as they are known."""
    found = Run(training.folder).read_progress()
    if found is None:
        return f"{training.name}: starting"
    left = "" if found.seconds_left is None else f", {duration(found.seconds_left)} left"
    if found.work is not None:
        return f"{training.name}: {found.work} {found.step:,} of {found.steps:,}{left}"
    return f"{training.name}: epoch {found.epoch}/{found.epochs}, step {found.step}/{found.steps}{left}"
