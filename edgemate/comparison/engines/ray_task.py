"""What a Ray worker does: start one training as a process of its own, and wait for its end.

A process of its own is as on one machine: its threads are set before torch is imported, and nothing is left of the
training that the same worker ran before.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from edgemate.comparison.running import Training

_WATCH_SECONDS = 0.5


class KilledError(Exception):
    """The process of a training was killed."""


@dataclass(frozen=True)
class Task:
    """A training to start on a node.

    Attributes:
        training: with absolute paths.
        threads: its CPU threads.
        gpu: it has one or more GPUs, which Ray names in CUDA_VISIBLE_DEVICES; otherwise it must see none.
        variables: environment variables from the machine that began the comparison.
        folders: where the modules of dotted paths are searched.
        cwd: what relative paths in the recipe are relative to.
        token: path of a file in the folder of the comparison, which a node that shares the folder sees.
    """

    training: Training
    threads: int
    gpu: bool
    variables: dict[str, str]
    folders: tuple[Path, ...]
    cwd: Path
    token: str


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes:
        code: exit code of its process.
        seconds: time of its last process.
        attempts: number of processes, of this comparison, that it took.
        host: name of the node that ended it.
        problem: why no process was started; None if one was.
    """

    code: int
    seconds: float
    attempts: int
    host: str
    problem: str | None = None


def train_here(task: Task) -> Outcome:
    """Train. Raises KilledError if the process was killed, which makes Ray start it again."""
    host = socket.gethostname()
    if not Path(task.token).is_file():
        problem = f"node {host} does not see {Path(task.token).parent}; choose an output folder that all nodes share"
        return Outcome(1, 0.0, 1, host, problem)
    attempts = _count_attempt(task)
    variables = task.variables if task.gpu else {**task.variables, "CUDA_VISIBLE_DEVICES": ""}
    cwd = task.cwd if task.cwd.is_dir() else None
    started = time.monotonic()
    process = task.training.start(task.threads, variables=_found(variables), folders=task.folders, cwd=cwd)
    try:
        code = _wait(process, attempts_file(task.token, task.training), attempts)
    finally:
        process.kill()  # where Ray cancels this task
        if process.stdin:
            process.stdin.close()
    if code < 0:
        raise KilledError(f"its process was ended by signal {-code} on {host}")
    return Outcome(code, time.monotonic() - started, attempts, host)


def _wait(process: subprocess.Popen[bytes], counter: Path, attempt: int) -> int:
    """The exit code of a training, which ends at once if it was given up: two must never write into the same run.

    Ray's worker outlives the node's own process (its parent), and a node that lost its connection continues, while the
    training may be started again elsewhere.
    """
    parent = os.getppid()
    while True:
        try:
            return process.wait(_WATCH_SECONDS)
        except subprocess.TimeoutExpired:
            if os.getppid() != parent or _attempts(counter) != attempt:
                process.kill()
                process.wait()
                os._exit(1)  # Ray starts the training again if nobody has


def _found(variables: dict[str, str]) -> dict[str, str]:
    """With the folder that edgemate was imported from, which Ray may have put on this process's path only."""
    home = Path(__file__).parents[3]
    if home.name in ("site-packages", "dist-packages"):
        return variables
    path = [str(home), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**variables, "PYTHONPATH": os.pathsep.join(path)}


def attempts_file(token: str, training: Training) -> Path:
    """The file with a byte for each attempt, since a task that is started again knows nothing of the one before."""
    return Path(f"{token}-{training.name}")


def _count_attempt(task: Task) -> int:
    counter = attempts_file(task.token, task.training)
    with counter.open("ab") as file:
        file.write(b".")
    return _attempts(counter)


def _attempts(counter: Path) -> int:
    try:
        return counter.stat().st_size
    except OSError:  # deleted with the end of the comparison
        return 0
