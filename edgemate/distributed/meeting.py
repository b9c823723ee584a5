"""Where the processes of a training meet: at an address that the environment names, each within some minutes.

Torch waits for them in C++, where neither Ctrl-C nor SIGTERM is heeded, and does not say for whom. Here Python waits.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from edgemate.distributed.slurm import set_slurm_address
from edgemate.distributed.world import World
from edgemate.errors import TrainingError
from edgemate.wording import counted

PATIENCE = timedelta(minutes=10)
"""How long a process waits for all others to come."""

_NAME_SECONDS = 60.0
"""How long the first machine's name may be unknown: a cluster may still be announcing it."""
_SILENT_SECONDS = 5.0
_POLL_SECONDS = 0.05


def meet(world: World, notify: Callable[[str], None]) -> Any:
    """Wait until all processes have come to MASTER_ADDR:MASTER_PORT, where rank 0 keeps a store.

    Args:
        world: this process and the others; not those of torchrun, which keeps a store itself.
        notify: receives one line if that takes longer than some seconds.

    Returns:
        The store that they share, of torch.distributed.

    Raises:
        UsageError: SLURM does not say where rank 0 is.
        TrainingError: some have not come, two have come as the same rank, rank 0 has ended, or the address cannot be
            used.
    """
    if world.starter == "slurm":
        set_slurm_address(os.environ)
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    waiting = _Waiting(f"{host}:{port}", notify)
    if not world.first:
        _wait_for_listener(host, port, waiting)
    try:
        store = dist.TCPStore(  # type: ignore[attr-defined]
            host, port, world.ranks, world.first, timeout=PATIENCE, wait_for_workers=False
        )
    except (dist.DistError, RuntimeError) as error:
        raise TrainingError(
            f"rank {world.rank} of {world.ranks} cannot use {host}:{port}, where the processes meet "
            f"({str(error).splitlines()[0]}); name another address in MASTER_ADDR or MASTER_PORT"
        ) from error
    try:
        if store.add(_key(world.rank), 1) > 1:
            raise TrainingError(
                f"rank {world.rank} of {world.ranks} has come to {host}:{port} twice; give every machine a NODE_RANK "
                "of its own, and every training a MASTER_PORT"
            )
        missing = list(range(world.ranks))
        while missing := [rank for rank in missing if not store.check([_key(rank)])]:
            waiting.go_on(f"{_named(missing)} of {world.ranks}")
    except (dist.DistError, RuntimeError) as error:  # with the process of rank 0 its store has gone
        raise TrainingError(
            f"rank {world.rank} of {world.ranks}: rank 0 has ended at {host}:{port} before all had come; its output "
            "says why"
        ) from error
    return store


class _Waiting:
    """Waiting for somebody at an address, until patience ends."""

    def __init__(self, address: str, notify: Callable[[str], None]) -> None:
        self._address, self._notify = address, notify
        self._start, self._said = time.monotonic(), False

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._start

    def go_on(self, whom: str) -> None:
        """Sleep for a moment. TrainingError when patience is at an end."""
        if self.seconds > PATIENCE.total_seconds():
            raise TrainingError(
                f"{whom} did not come to {self._address} within {counted(round(self.seconds / 60), 'minute')}; start "
                "all processes, at the same MASTER_ADDR and MASTER_PORT"
            )
        if not self._said and self.seconds > _SILENT_SECONDS:
            self._said = True
            self._notify(f"waiting at {self._address} for {whom}")
        time.sleep(_POLL_SECONDS)


def _wait_for_listener(host: str, port: int, waiting: _Waiting) -> None:
    """Wait until somebody listens there: a store's own attempts are made in C++ too."""
    while True:
        try:
            socket.create_connection((host, port), timeout=_SILENT_SECONDS).close()
        except socket.gaierror as error:
            if waiting.seconds > _NAME_SECONDS:
                raise TrainingError(
                    f"MASTER_ADDR: {host} is not known here ({error.strerror}); name the machine of rank 0"
                ) from error
        except OSError:
            pass
        else:
            return
        waiting.go_on("rank 0")


def _named(ranks: list[int]) -> str:
    shown = ", ".join(map(str, ranks[:8])) + (" …" if len(ranks) > 8 else "")
    return f"rank{'s' if len(ranks) > 1 else ''} {shown}"


def _key(rank: int) -> str:
    return f"edgemate/rank{rank}"
