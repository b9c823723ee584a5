"""Processes that are connected by gloo and call functions together. They start once for many tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from prepared import FORKS

_SECONDS = 240
"""The most that a call may take if nothing else is said, the start of the processes included."""


class Ranks:
    """Some connected processes.

    Args:
        pipes: to each of them.
    """

    def __init__(self, pipes: list[Connection]) -> None:
        self._pipes = pipes

    def call(self, function: Callable[..., Any], *given: Any, seconds: float = _SECONDS) -> list[Any]:
        """What `function(rank, ranks, *given)` returns in every process. It must be importable by its name there."""
        for pipe in self._pipes:
            pipe.send((function, given))
        answers = []
        for rank, pipe in enumerate(self._pipes):
            assert pipe.poll(seconds), f"rank {rank} does not answer"
            answers.append(pipe.recv())
        for rank, (worked, value) in enumerate(answers):
            assert worked, f"rank {rank}: {value}"
        return [value for _, value in answers]


@contextmanager
def connected_ranks(number: int, folder: Path) -> Iterator[Ranks]:
    """That many processes, which are killed at the end."""
    processes: list[BaseProcess] = []
    pipes: list[Connection] = []
    try:
        for rank in range(number):
            ours, theirs = FORKS.Pipe()
            process = FORKS.Process(target=_work, args=(rank, number, folder / "store", theirs))
            process.start()
            theirs.close()
            processes.append(process)
            pipes.append(ours)
        yield Ranks(pipes)
    finally:
        for process in processes:
            process.kill()
            process.join()


def _work(rank: int, number: int, store: Path, pipe: Connection) -> None:
    import traceback

    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=number)
    while True:
        try:
            function, given = pipe.recv()
        except EOFError:  # the test process is gone
            return
        try:
            pipe.send((True, function(rank, number, *given)))
        except Exception:
            pipe.send((False, traceback.format_exc()))
