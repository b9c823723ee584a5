"""Runs trainings in parallel, each in a process of its own with a fraction of the cores."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgemate import plug_ins
from edgemate.errors import TrainingError, UsageError
from edgemate.machine import usable_cores
from edgemate.progress import duration
from edgemate.runs import Run

_POLL_SECONDS = 0.2
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


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

    def start(self, threads: int) -> subprocess.Popen[bytes]:
        """Start the process, which ends when this one does."""
        command = [sys.executable, "-m", "edgemate.comparison.worker", str(self.recipe), str(self.folder)]
        command += map(str, plug_ins.searched())
        environment = os.environ | dict.fromkeys(_THREAD_VARIABLES, str(threads)) | {"COLUMNS": "160"}
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )

    def last_log_line(self) -> str:
        """The last line of the log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")


def threads_each(jobs: int) -> int:
    """CPU threads per training: $OMP_NUM_THREADS if it is set, else the usable cores divided by `jobs`.

    Raises:
        UsageError: the variable is not a positive integer.
    """
    given = os.environ.get("OMP_NUM_THREADS")
    if not given:
        return max(1, usable_cores() // jobs)
    if not given.isdecimal() or int(given) < 1:
        raise UsageError(f"OMP_NUM_THREADS is {given!r}; set it to a number of threads, such as 1, or unset it")
    return int(given)


def progress_line(training: Training) -> str:
    """Name, epoch, step and time left of a running training, as far as they are known."""
    found = Run(training.folder).read_progress()
    if found is None:
        return f"{training.name}: starting"
    left = "" if found.seconds_left is None else f", {duration(found.seconds_left)} left"
    return f"{training.name}: epoch {found.epoch}/{found.epochs}, step {found.step}/{found.steps}{left}"


def run_all(
    trainings: Iterable[Training],
    *,
    jobs: int,
    threads: int,
    on_finished: Callable[[Training, float], None],
    on_poll: Callable[[Sequence[Training], int], None] = lambda running, waiting: None,
) -> None:
    """Run all trainings, `jobs` at a time. A failed training does not stop the others.

    Args:
        trainings: the trainings, in the order of their start.
        jobs: number of trainings at the same time.
        threads: CPU threads of each training.
        on_finished: called after each successful training, with the seconds since its process started.
        on_poll: called a few times a second with the running trainings and the number of waiting ones.

    Raises:
        TrainingError: some failed; all others are finished.
    """
    waiting = list(trainings)
    failed: list[Training] = []
    with _terminated_on_exit() as running:
        while waiting or running:
            while waiting and len(running) < jobs:
                training = waiting.pop(0)
                running.append((training, training.start(threads), time.monotonic()))
            for entry in list(running):
                training, process, started = entry
                if process.poll() is None:
                    continue
                running.remove(entry)
                _close(process)
                if process.returncode == 0:
                    on_finished(training, time.monotonic() - started)
                else:
                    failed.append(training)
            on_poll([training for training, *_ in running], len(waiting))
            time.sleep(_POLL_SECONDS)
    if failed:
        first, others = failed[0], [training.name for training in failed[1:]]
        also = f"; failed as well: {', '.join(others)}" if others else ""
        raise TrainingError(
            f"{first.name}: its training failed: {first.last_log_line()} (log: {first.log}){also}; "
            "finished runs are kept, and the same command resumes the rest"
        )


@contextmanager
def _terminated_on_exit() -> Iterator[list[tuple[Training, subprocess.Popen[Any], float]]]:
    """A list of running processes; those that are still in it on exit are terminated."""
    running: list[tuple[Training, subprocess.Popen[Any], float]] = []
    try:
        yield running
    finally:
        for _, process, _ in running:
            process.terminate()
        for _, process, _ in running:
            process.wait()
            _close(process)


def _close(process: subprocess.Popen[Any]) -> None:
    if process.stdin:
        process.stdin.close()
