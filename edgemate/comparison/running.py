"""Trainings side by side, each a process of its own with its share of the cores."""

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

from edgemate.errors import TrainingError, UsageError
from edgemate.machine import usable_cores
from edgemate.progress import duration
from edgemate.runs import Run

_POLL_SECONDS = 0.2
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Training:
    """One run to make.

    Attributes:
        name: of the run.
        recipe: resolved, as a file.
        folder: of the run; one that was begun is gone on with.
        log: what the command prints goes to its end.
    """

    name: str
    recipe: Path
    folder: Path
    log: Path

    def start(self, threads: int) -> subprocess.Popen[bytes]:
        """Start the process; it ends when this one does."""
        command = [sys.executable, "-m", "edgemate.comparison.worker", str(self.recipe), str(self.folder)]
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

    def last_words(self) -> str:
        """The last line of the log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def threads_each(jobs: int) -> int:
    """CPU threads per training: $OMP_NUM_THREADS where it is set, else the usable cores shared by `jobs`.

    Raises:
        UsageError: that variable holds no number of threads.
    """
    given = os.environ.get("OMP_NUM_THREADS")
    if not given:
        return max(1, usable_cores() // jobs)
    if not given.isdecimal() or int(given) < 1:
        raise UsageError(f"OMP_NUM_THREADS is {given!r}; it should be a number of threads, such as 1, or not set")
    return int(given)


def how_far(training: Training) -> str:
    """Its name, epoch and time left, as far as it has told them."""
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
    finished: Callable[[Training, float], None],
    going_on: Callable[[Sequence[Training], int], None] = lambda running, waiting: None,
) -> None:
    """Run all trainings, `jobs` at a time, in that order. One that fails does not keep the others from running.

    Args:
        trainings: to run.
        jobs: how many at the same time.
        threads: CPU threads of each.
        finished: called after each that went well, with the seconds since its process started.
        going_on: called again and again with those that run and how many are still to come.

    Raises:
        TrainingError: some failed; all others are done.
    """
    waiting = list(trainings)
    failed: list[Training] = []
    with _ended_on_exit() as running:
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
                    finished(training, time.monotonic() - started)
                else:
                    failed.append(training)
            going_on([training for training, *_ in running], len(waiting))
            time.sleep(_POLL_SECONDS)
    if failed:
        first, others = failed[0], [training.name for training in failed[1:]]
        also = f"; failed as well: {', '.join(others)}" if others else ""
        raise TrainingError(
            f"{first.name}: its training failed: {first.last_words()} (log: {first.log}){also}; "
            "what is finished is kept, and the same command goes on from there"
        )


@contextmanager
def _ended_on_exit() -> Iterator[list[tuple[Training, subprocess.Popen[Any], float]]]:
    """A list of running processes; whatever is still in it on the way out is ended."""
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
