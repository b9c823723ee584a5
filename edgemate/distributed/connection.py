"""The connection between the processes of a training, and what they hand each other over it."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from edgemate.distributed.meeting import meet
from edgemate.distributed.world import World
from edgemate.errors import EdgemateError, TrainingError

Found = TypeVar("Found")

STEP_TIMEOUT = timedelta(minutes=10)
"""How long a process waits for the others within a step. Between steps one may have work that the others wait for."""
_PATIENCE = timedelta(days=1)


class LostRankError(TrainingError):
    """Another process of the training has ended or does not answer."""


@contextmanager
def connected(
    world: World, device: torch.device, notify: Callable[[str], None] = lambda line: None
) -> Iterator[Connection]:
    """The connection to all processes of `world`. With one process there is nothing to connect.

    The first call in a process connects it, and later ones use that, also where somebody else has initialized
    torch.distributed. It is closed when the process ends.

    Args:
        world: this process and the others. The environment has MASTER_ADDR and MASTER_PORT.
        device: that this process trains on, which decides between NCCL and gloo.
        notify: receives one line if the others take long to come.

    Raises:
        LostRankError: a process has ended, here or within the block.
        TrainingError: the processes do not meet; see `meet`.
    """
    if world.ranks == 1:
        yield Connection(world, None)
        return
    try:
        if not dist.is_initialized():
            _initialize(world, device, notify)
        # What is exchanged between steps are objects in memory, and one process may work for an hour meanwhile.
        group = dist.new_group(backend="gloo", timeout=_PATIENCE)
        assert isinstance(group, dist.ProcessGroup)
        yield Connection(world, group)
    except (RuntimeError, dist.DistError) as error:
        if not _is_lost(error):
            raise
        raise LostRankError(
            f"rank {world.rank} of {world.ranks} lost the connection to another one, which has ended; `resume` "
            "continues from the last checkpoint"
        ) from error


def _initialize(world: World, device: torch.device, notify: Callable[[str], None]) -> None:
    on_gpu = device.type == "cuda"
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        store=None if world.starter == "torchrun" else meet(world, notify),
        rank=world.rank,
        world_size=world.ranks,
        timeout=STEP_TIMEOUT,
        device_id=device if on_gpu else None,
    )
    atexit.register(_close)


def _close() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


class Connection:
    """What the processes hand each other between steps.

    Args:
        world: this process and the others.
        group: over which objects are handed on; None with one process.
    """

    def __init__(self, world: World, group: dist.ProcessGroup | None) -> None:
        self.world, self._group = world, group

    def shared(self, find: Callable[[], Found]) -> Found:
        """What `find` returns in rank 0, which alone calls it. Its EdgemateError is raised in all of them.

        What is found must be plain values, or instances of classes of this package.
        """
        if self._group is None:
            return find()
        found: list[Any] = [None, None]
        error: EdgemateError | None = None
        if self.world.first:
            try:
                found[0] = find()
            except EdgemateError as caught:
                error = caught
                found = [None, str(caught)]
        dist.broadcast_object_list(found, 0, group=self._group)
        if error is not None:
            raise error
        if found[1] is not None:
            raise TrainingError(found[1])
        value: Found = found[0]
        return value

    def only_first(self, do: Callable[[], object]) -> None:
        """Call `do` in rank 0, while the others wait. Its EdgemateError is raised in all of them."""

        def call() -> None:
            do()

        self.shared(call)

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Give these tensors, on the CPU, the values that they have in rank 0."""
        if self._group is None:
            return
        for tensor in tensors:
            sent = tensor.detach().contiguous()
            dist.broadcast(sent, 0, group=self._group)
            tensor.detach().copy_(sent)

    def in_turns(self, own: Iterable[Found], number: int) -> Iterator[Found]:
        """Items 0 to `number` − 1 in order, in rank 0; nothing in the others, which iterate to send theirs.

        Args:
            own: the items of this process: every ranks-th, the first of which is that of its rank.
            number: of items over all processes.
        """
        if self._group is None:
            yield from own
            return
        items, ranks = iter(own), self.world.ranks
        for first in range(0, number, ranks):
            gathered: list[Any] | None = [None] * ranks if self.world.first else None
            dist.gather_object(next(items, None), gathered, 0, group=self._group)
            if gathered is not None:
                yield from gathered[: number - first]

    def each(self, find: Callable[[], Found]) -> Found:
        """What `find` returns in this process, once it has returned in all of them.

        An EdgemateError in one process is raised in all.
        """
        if self._group is None:
            return find()
        message, error, value = None, None, None
        try:
            value = find()
        except EdgemateError as caught:
            message, error = str(caught), caught
        messages: list[str | None] = [None] * self.world.ranks
        dist.all_gather_object(messages, message, group=self._group)
        if error is not None:
            raise error
        for rank, other in enumerate(messages):
            if other is not None:
                raise TrainingError(f"rank {rank}: {other}")
        return cast(Found, value)


def device_of(world: World, accelerator: str) -> torch.device:
    """The device of this process: its GPU, where GPUs are to be used and there are any, else the CPU.

    Raises:
        TrainingError: the machine has fewer GPUs than processes.
    """
    if accelerator == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    gpus = torch.cuda.device_count()
    if world.local_ranks > gpus:
        raise TrainingError(
            f"devices: {world.local_ranks} processes for {gpus} GPU{'s' if gpus > 1 else ''} on this machine; use as "
            "many, or training.accelerator=cpu"
        )
    return torch.device("cuda", world.local_rank)


def _is_lost(error: Exception) -> bool:
    """Whether a library's error says that another process is gone."""
    if isinstance(error, dist.DistError):
        return True
    text = str(error).lower()
    return any(
        sign in text
        for sign in ("connection closed by peer", "connection reset by peer", "connection refused", "broken pipe",
                     "socket timeout", "timed out waiting", "no route to host")
    )  # fmt: skip
