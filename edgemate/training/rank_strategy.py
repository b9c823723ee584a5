"""How Lightning trains with several processes: DistributedDataParallel, in the processes that are there."""

from __future__ import annotations

import inspect
import os
from typing import Any

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from edgemate.distillation.method import Method
from edgemate.distributed.connection import STEP_TIMEOUT
from edgemate.distributed.sharding import Sharding
from edgemate.distributed.world import World
from edgemate.errors import DataError


def strategy_of(world: World) -> Any:
    """Lightning's strategy.

    Parameters without a gradient are looked for in every step: whether a method or a user's own network has some may
    change while it trains. Buffers are not sent around in every step, since `average_statistics` and the methods
    themselves keep them alike.
    """
    if world.ranks == 1:
        return "auto"
    options = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in options else "broadcast_buffers"  # before torch 2.14
    buffers: dict[str, Any] = {name: False}
    return DDPStrategy(find_unused_parameters=True, timeout=STEP_TIMEOUT, **buffers)


def environment_of(world: World) -> ClusterEnvironment:
    """Where Lightning finds rank and number of the processes, none of which it is to start."""
    # Also inside a job of SLURM or torchrun whose processes train apart.
    return LightningEnvironment() if world.ranks == 1 else _Connected(world)


class _Connected(ClusterEnvironment):
    """Processes that are connected already.

    Lightning's own classes read the environment again, with other rules: that of SLURM refuses `srun --ntasks`.
    """

    creates_processes_externally = True
    main_address = property(lambda self: os.environ["MASTER_ADDR"])
    main_port = property(lambda self: int(os.environ["MASTER_PORT"]))

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self._world.ranks

    def set_world_size(self, size: int) -> None:
        pass

    def global_rank(self) -> int:
        return self._world.rank

    def set_global_rank(self, rank: int) -> None:
        pass

    def local_rank(self) -> int:
        return self._world.local_rank

    def node_rank(self) -> int:
        return self._world.node


def leave_to_method(task: nn.Module, method: Method) -> None:
    """Let DistributedDataParallel ignore the parameters that the method steps itself, within a step of its own.

    Such a method averages their gradients by `edgemate.distributed.reduce.average_gradients`.
    """
    stepped = {
        id(parameter)
        for optimizer in method.optimizers()
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    names = [name for name, parameter in task.named_parameters() if id(parameter) in stepped]
    if names:
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(task, names)  # type: ignore[no-untyped-call]


def check_loaders(loader: Any, calibration_images: int, sharding: Sharding) -> None:
    """Check that every process has images to train on and to evaluate.

    Raises:
        DataError: it has not.
    """
    if sharding.parts == 1:
        return
    if len(loader) == 0:
        raise DataError(
            f"the training split has fewer than two images for each of {sharding.parts} micro-batches; use fewer "
            "processes, or a smaller optimization.accumulate"
        )
    if calibration_images < sharding.ranks:
        raise DataError(
            f"the calibration split has {calibration_images} images for {sharding.ranks} processes; use fewer of them, "
            "or raise data.calibration_fraction"
        )
