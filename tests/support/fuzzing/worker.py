"""Runs cases, each in a process of its own, within limits of time and memory.

A process that crashes, hangs or needs too much memory is a failure of its case, and the others go on.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import NamedTuple, NoReturn

from edgemate.errors import EdgemateError

SECONDS = 5
"""Of processor time that a case may take; other processes of the machine do not count."""
WALL_SECONDS = 120
"""By the clock, for what waits without computing, as on a pipe; other processes may slow a case down manyfold."""
MEMORY = 1 << 30
"""Bytes of address space that a case may add."""

Target = Callable[[Random, Path], None]


class Failure(NamedTuple):
    """A case that did not end as it must.

    Attributes:
        target: of the case.
        seed: of the case.
        reason: one line, or a traceback.
    """

    target: str
    seed: int
    reason: str


class _Running(NamedTuple):
    target: str
    seed: int
    pipe: int
    folder: str
    started: float


def run_cases(
    targets: Mapping[str, Target], cases: Iterable[tuple[str, int]], jobs: int = 1
) -> Iterator[tuple[str, int, Failure | None]]:
    """Run cases, `jobs` at a time; each comes with its failure as it ends."""
    waiting = iter(cases)
    running: dict[int, _Running] = {}
    try:
        while True:
            while len(running) < jobs and (case := next(waiting, None)) is not None:
                pid, started = _start(targets, *case)
                running[pid] = started
            if not running:
                return
            for pid in list(running):
                done = _ended(pid, running[pid])
                if done is not None:
                    case = running.pop(pid)
                    yield case.target, case.seed, done if done.reason else None
            _wait(running.values())
    finally:
        for pid, case in running.items():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            _clean(case)


def _start(targets: Mapping[str, Target], target: str, seed: int) -> tuple[int, _Running]:
    folder = tempfile.mkdtemp(prefix="edgemate-fuzz-")
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of threads, of which the process of a case has none that it needs.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.close(reading)
        _child(targets[target], target, seed, Path(folder), writing)
    os.close(writing)
    return pid, _Running(target, seed, reading, folder, time.monotonic())


def _child(run: Target, target: str, seed: int, folder: Path, writing: int) -> NoReturn:
    """What the process of a case does, without any of the parent's cleaning up."""
    reason = ""
    try:
        faulthandler.disable()  # which pytest enables
        printed = os.open(folder / ".printed", os.O_CREAT | os.O_RDWR)
        os.dup2(printed, 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        inside = folder / "case"
        inside.mkdir()
        _limit()
        try:
            run(Random(f"{target}:{seed}"), inside)
        except EdgemateError as error:
            text = str(error)
            text.encode()  # it is printed
            if not text.strip() or len(text) > 20_000:
                reason = f"a message of {len(text)} characters: {text[:200]!r}"
        sys.stdout.flush()
        if not reason and os.fstat(printed).st_size:
            reason = f"printed to standard output: {os.pread(printed, 200, 0)!r}"
    except BaseException as error:
        reason = f"{type(error).__name__}, whose traceback cannot be printed"
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        reason = traceback.format_exc(limit=-12)
    finally:  # whatever happens, the parent's own cleaning up is not for this process
        with suppress(OSError):
            os.write(writing, (reason or "ok").encode(errors="backslashreplace")[-16_000:])
        os._exit(0)


def _limit() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    before = sum(os.times()[:2])
    # The processor time of a forked process begins at 0; the kernel's signal ends native code too.
    resource.setrlimit(resource.RLIMIT_CPU, (int(before) + SECONDS, int(before) + SECONDS + 1))


def _ended(pid: int, case: _Running) -> Failure | None:
    """A failure without a reason where the case passed; None where it still runs."""
    found, status = os.waitpid(pid, os.WNOHANG)
    if not found:
        if time.monotonic() - case.started < WALL_SECONDS:
            return None
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        _clean(case)
        return Failure(case.target, case.seed, f"waits: not done after {WALL_SECONDS} s")
    text = os.read(case.pipe, 1 << 16).decode()
    _clean(case)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        limit = f" (more than {SECONDS} s of processor time)" if number in (signal.SIGXCPU, signal.SIGKILL) else ""
        return Failure(case.target, case.seed, f"ended by {signal.Signals(number).name}{limit}")
    reason = "" if text == "ok" else text or f"ended with exit code {os.WEXITSTATUS(status)}"
    return Failure(case.target, case.seed, reason)


def _wait(running: Iterable[_Running]) -> None:
    """Until one of them has written or ended, for at most a second."""
    pipes = [case.pipe for case in running]
    if pipes:
        select.select(pipes, [], [], 1.0)


def _clean(case: _Running) -> None:
    os.close(case.pipe)
    shutil.rmtree(case.folder, ignore_errors=True)
