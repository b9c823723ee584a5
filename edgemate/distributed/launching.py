"""Starts the processes of a training on this machine, watches them, and ends them all when one of them dies.

The processes find each other as under torchrun, whose environment variables they get.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgemate import errors
from edgemate.distributed.world import STARTED_BY_US, World
from edgemate.errors import EdgemateError, TrainingError
from edgemate.machine import usable_cores

_POLL_SECONDS = 0.2
_LAST_WORDS_SECONDS = 10.0
"""How long the others may take to end by themselves once one has ended with an error, before they are killed."""
_LOCAL_HOST = "127.0.0.1"
_INTERRUPTED = 130


@dataclass
class _Rank:
    number: int
    process: subprocess.Popen[bytes]
    report: Path
    log: Path | None


def run_ranks(command: Sequence[str], world: World, *, environment: dict[str, str] | None = None) -> None:
    """Run a command in every process of this machine, and return once all have succeeded.

    Rank 0 has this process's output. What the others print appears only in the message about one that failed.

    Args:
        command: that `current_world` is asked in.
        world: the processes; `rank` is that of the first one on this machine.
        environment: variables beside those of this process.

    Raises:
        EdgemateError: the error that a process has reported, of its own class, or TrainingError: one has died.
        KeyboardInterrupt: this process was interrupted; the others have ended.
    """
    port = os.environ.get("MASTER_PORT") if world.nodes > 1 else None
    shared = {
        "MASTER_ADDR": os.environ["MASTER_ADDR"] if world.nodes > 1 else _LOCAL_HOST,
        "MASTER_PORT": port or str(_free_port()),
        "WORLD_SIZE": str(world.ranks),
        "LOCAL_WORLD_SIZE": str(world.local_ranks),
        "GROUP_RANK": str(world.node),
        # Every process would otherwise use all cores.
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, usable_cores() // world.local_ranks)),
        **(environment or {}),
    }
    with tempfile.TemporaryDirectory(prefix="edgemate_ranks_") as folder, _killed_on_exit() as running:
        for local in range(world.local_ranks):
            running.append(_start(command, world.rank + local, local, shared, Path(folder)))
        _watch(running, world)


def report_to_parent(error: EdgemateError) -> None:
    """In a process that `run_ranks` has started: hand an error to it, which raises it."""
    content = {"kind": type(error).__name__, "message": str(error)}
    Path(os.environ[STARTED_BY_US]).write_text(json.dumps(content), encoding="utf-8")


def end_with_parent() -> None:
    """In a process that `run_ranks` has started: end when the parent does, however that ends."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1024):
                pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True, name="end-with-parent").start()


def _start(command: Sequence[str], rank: int, local: int, shared: dict[str, str], folder: Path) -> _Rank:
    report = folder / f"rank{rank}.json"
    log = folder / f"rank{rank}.log" if local else None
    own = {"RANK": str(rank), "LOCAL_RANK": str(local), STARTED_BY_US: str(report)}
    with contextlib.ExitStack() as stack:
        output = None if log is None else stack.enter_context(log.open("wb"))
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
            env=os.environ | shared | own,
        )
    return _Rank(rank, process, report, log)


def _watch(running: Sequence[_Rank], world: World) -> None:
    try:
        while None in (codes := _codes(running)):
            if any(codes):
                _wait(running, _LAST_WORDS_SECONDS)
                break
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:  # which a terminal sends to all of them
        _wait(running, _LAST_WORDS_SECONDS)
        raise
    ended = [rank for rank in running if rank.process.poll()]
    if any(rank.process.returncode == _INTERRUPTED for rank in ended):
        raise KeyboardInterrupt
    if ended:
        raise _first_error(ended, world)


def _codes(running: Sequence[_Rank]) -> list[int | None]:
    return [rank.process.poll() for rank in running]


def _wait(running: Sequence[_Rank], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and None in _codes(running):
        time.sleep(_POLL_SECONDS)


def _first_error(ended: Sequence[_Rank], world: World) -> EdgemateError:
    """The error to raise: a death before an error that was reported, and that before one that only follows from it."""
    lost: EdgemateError | None = None
    reported: list[tuple[_Rank, str, str]] = []
    for rank in ended:
        code = rank.process.returncode
        if code < 0:
            return _died(rank, world, f"was killed by {_signal_name(-code)}")
        if rank.report.exists():
            content = json.loads(rank.report.read_text(encoding="utf-8"))
            reported.append((rank, content["kind"], content["message"]))
    silent = [rank for rank in ended if rank.number not in {one.number for one, *_ in reported}]
    for _, kind, message in reported:
        if kind == "LostRankError":
            lost = TrainingError(message)
            continue
        made = getattr(errors, kind, TrainingError)
        # A RecipeError is built of its problems; the message is already whole.
        return TrainingError(message) if made is errors.RecipeError else made(message)
    if silent:
        last = _last_line(silent[0])
        return _died(silent[0], world, f"ended with exit code {silent[0].process.returncode}{last}")
    return lost or TrainingError("a process of the training has ended without a reason")


def _died(rank: _Rank, world: World, how: str) -> TrainingError:
    return TrainingError(
        f"rank {rank.number} of {world.ranks} (process {rank.process.pid}) {how}; all others were ended, and `resume` "
        "continues from the last checkpoint"
    )


def _last_line(rank: _Rank) -> str:
    if rank.log is None:
        return ""
    lines = rank.log.read_text(encoding="utf-8", errors="replace").splitlines()
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f" ({last})" if last else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextlib.contextmanager
def _killed_on_exit() -> Iterator[list[_Rank]]:
    running: list[_Rank] = []
    try:
        yield running
    finally:
        for rank in running:
            # Not by SIGTERM: a process that waits for another one in a library does not heed it.
            if rank.process.poll() is None:
                rank.process.kill()
        for rank in running:
            rank.process.wait()
            if rank.process.stdin is not None:
                rank.process.stdin.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOCAL_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def rank_command(arguments: Sequence[str]) -> list[str]:
    """The command line that runs `edgemate` with these arguments by this Python."""
    return [sys.executable, "-m", "edgemate", *arguments]
