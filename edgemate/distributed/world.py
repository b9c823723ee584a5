"""Which process this is, among those that train together; read from the environment, without torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgemate.distributed.sharding import Sharding
from edgemate.distributed.slurm import slurm_place, slurm_tasks
from edgemate.distributed.variables import Variables, check_port
from edgemate.errors import UsageError

Starter = Literal["nobody", "edgemate", "torchrun", "slurm"]

STARTED_BY_US = "EDGEMATE_RANK_REPORT"
"""Environment variable of the processes that `edgemate.distributed.launching` starts: where they report an error."""

COMMAND = "EDGEMATE_RANK_COMMAND"
"""Environment variable of the same processes: the command line that was given to the one that started them, as JSON."""

_ADDRESS = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class World:
    """The processes that train together, and this one among them.

    Attributes:
        rank: of this process, from 0. Rank 0 writes the run and prints.
        ranks: number of processes.
        local_rank: of this process on its machine, from 0, which is also the index of its GPU.
        local_ranks: processes on this machine.
        node: of this machine, from 0.
        nodes: number of machines.
        starter: what started the processes.
    """

    rank: int = 0
    ranks: int = 1
    local_rank: int = 0
    local_ranks: int = 1
    node: int = 0
    nodes: int = 1
    starter: Starter = "nobody"

    @property
    def first(self) -> bool:
        """Whether this process writes the run and prints."""
        return self.rank == 0

    @property
    def has_parent(self) -> bool:
        """Whether another `edgemate` has started the processes, to which errors go and which prints the result."""
        return self.starter == "edgemate"

    def sharding(self, accumulate: int) -> Sharding:
        """What this process takes of every batch."""
        return Sharding(self.rank, self.ranks, accumulate)

    def to_json(self) -> dict[str, Any]:
        """For the metadata of a run."""
        return {"ranks": self.ranks, "nodes": self.nodes, "started_by": self.starter}


ALONE = World()
"""One process, by itself."""


def current_world(environment: Mapping[str, str] = os.environ) -> World:
    """The processes that torchrun, srun or this package has started; `ALONE` where none of them has.

    Raises:
        UsageError: variables of the one that has are missing or no numbers, or SLURM's nodes have different numbers
            of tasks.
    """
    if "TORCHELASTIC_RUN_ID" in environment or STARTED_BY_US in environment:
        starter: Starter = "edgemate" if STARTED_BY_US in environment else "torchrun"
        mark = STARTED_BY_US if starter == "edgemate" else "TORCHELASTIC_RUN_ID"
        variables = Variables(starter, environment, f"unset {mark} for one process")
        variables.check_present(*_TORCHRUN)
        check_port(environment)
        ranks, local = variables.number("WORLD_SIZE"), variables.number("LOCAL_WORLD_SIZE")
        return World(
            variables.number("RANK", below="WORLD_SIZE"),
            ranks,
            variables.number("LOCAL_RANK", below="LOCAL_WORLD_SIZE"),
            local,
            variables.number("GROUP_RANK"),
            max(1, ranks // local),
            starter,
        )
    return ALONE if slurm_tasks(environment) == 1 else World(*slurm_place(environment), "slurm")


def wanted_world(
    devices: int | None,
    nodes: int | None,
    strategy: str,
    world: World,
    environment: Mapping[str, str] = os.environ,
) -> World:
    """The processes that a training is to have.

    Args:
        devices: processes per machine, each with a GPU where there are any; None: those of `world`.
        nodes: machines; None: those of `world`.
        strategy: `auto` or `ddp`, which is what several processes always do.
        world: what `current_world` found.
        environment: where `nodes` finds the address of the first machine.

    Returns:
        `world` itself, or processes that are still to be started, on this machine or on several.

    Raises:
        UsageError: the number disagrees with the processes that are there, or several machines are wanted and the
            environment does not say which of them this is.
    """
    if strategy not in ("auto", "ddp"):
        raise UsageError(f"strategy: {strategy!r} is unknown; use ddp, or auto, which is ddp for several devices")
    for name, number in (("devices", devices), ("nodes", nodes)):
        if number is not None and number < 1:
            raise UsageError(f"{name}: {number} is too few; use 1 or more")
    if world.ranks > 1 or world.starter != "nobody":
        for name, number, there in (("devices", devices, world.local_ranks), ("nodes", nodes, world.nodes)):
            if number not in (None, there):
                raise UsageError(
                    f"{name}: {number} was asked for, and {world.starter} has started {there}; leave {name} out"
                )
        return world
    devices, nodes = devices or 1, nodes or 1
    if nodes == 1:
        return World(ranks=devices, local_ranks=devices)
    missing = [name for name in _ADDRESS if not environment.get(name)]
    if missing:
        raise UsageError(
            f"nodes: {nodes} machines need {', '.join(missing)} in the environment of each, or use torchrun or srun"
        )
    check_port(environment)
    node = environment["NODE_RANK"]
    if not (node.isascii() and node.isdecimal()) or int(node) >= nodes:
        raise UsageError(f"NODE_RANK is {node!r}; number the {nodes} machines from 0 to {nodes - 1}")
    return World(int(node) * devices, devices * nodes, 0, devices, int(node), nodes)
