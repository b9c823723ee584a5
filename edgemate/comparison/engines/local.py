"""Engine `local`: processes on this machine, each with a fraction of the cores, and with its own GPU of several."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgemate.comparison.engines.engine import Engine, Reports
from edgemate.comparison.running import DIVERGED, Failure, Training, threads_each

_POLL_SECONDS = 0.2
_LAST_WORDS_SECONDS = 20.0
_VISIBLE = "CUDA_VISIBLE_DEVICES"


class Local(Engine):
    """Processes on this machine.

    With several GPUs, each training sees one only: the one with the fewest trainings. `jobs` is then their number
    unless it is given, and otherwise 1.
    """

    def __init__(self, jobs: int | None, gpus: bool) -> None:
        self._given, self._may_use_gpus = jobs, gpus
        self.gpus: list[str] = []
        self.jobs = jobs or 1
        self.threads = threads_each(self.jobs)

    def start(self, output: Path) -> None:
        """Count the GPUs."""
        devices = visible_gpus() if self._may_use_gpus else []
        self.gpus = devices if len(devices) > 1 else []
        self.jobs = self._given or max(1, len(self.gpus))
        self.threads = threads_each(self.jobs)

    def run(self, trainings: Sequence[Training], reports: Reports) -> list[Failure]:
        """Run them, `jobs` at a time; if this is interrupted, those that are running are terminated."""
        waiting, failures = list(trainings), []
        with _terminated_on_exit() as running:
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    running.append(self._start(waiting.pop(0), running))
                for entry in list(running):
                    code = entry.process.poll()
                    if code is None:
                        continue
                    running.remove(entry)
                    _close(entry.process)
                    if code == 0:
                        reports.finished(entry.training, time.monotonic() - entry.started)
                    else:
                        failures.append(Failure(entry.training, entry.training.last_log_line(), code == DIVERGED))
                reports.poll([entry.training for entry in running], len(waiting))
                if running or waiting:
                    time.sleep(_POLL_SECONDS)
        return failures

    def _start(self, training: Training, running: Sequence[_Running]) -> _Running:
        if not self.gpus:
            return _Running(training, training.start(self.threads), time.monotonic(), None)
        taken = Counter(entry.gpu for entry in running)
        gpu = min(self.gpus, key=lambda gpu: taken[gpu])  # the first of those with the fewest
        process = training.start(self.threads, variables={_VISIBLE: gpu})
        return _Running(training, process, time.monotonic(), gpu)


def visible_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES may name, one entry per GPU that this process may use."""
    given = os.environ.get(_VISIBLE)
    if given is not None:
        named = [entry.strip() for entry in given.split(",")]
        # CUDA ignores what follows an invalid entry, such as -1.
        return named[: next((i for i, entry in enumerate(named) if not entry or entry.startswith("-")), len(named))]
    return [str(i) for i in range(_gpu_count())]


def _gpu_count() -> int:
    import torch

    return torch.cuda.device_count()


@dataclass(frozen=True)
class _Running:
    training: Training
    process: subprocess.Popen[bytes]
    started: float
    gpu: str | None


@contextmanager
def _terminated_on_exit() -> Iterator[list[_Running]]:
    """A list of running processes; those that are still in it on exit are terminated."""
    running: list[_Running] = []
    try:
        yield running
    finally:
        for entry in running:
            entry.process.terminate()
        for entry in running:
            try:
                entry.process.wait(_LAST_WORDS_SECONDS)
            except subprocess.TimeoutExpired:  # in a library that does not return
                entry.process.kill()
                entry.process.wait()
            _close(entry.process)


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdin:
        process.stdin.close()
