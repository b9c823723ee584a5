"""What connected processes do in tests; see `ranks`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from any_method import EARLY, any_method
from exit_outputs import C
from teachers import gray_batch
from torch import Tensor, nn
from torchvision.transforms import v2
from toy_data import input_spec

from edgemate.data.loaders import LabeledBatch
from edgemate.data.on_device import train_loader_on
from edgemate.data.source import DataSource
from edgemate.data.transforms import TrainingTransform
from edgemate.distillation import Batch
from edgemate.distributed.batch_norm import synchronize
from edgemate.distributed.connection import Connection
from edgemate.distributed.divided_rows import fetch_rows
from edgemate.distributed.reduce import (
    average_gradients,
    average_statistics,
    mean_over_ranks,
    same_everywhere,
    sum_over_ranks,
)
from edgemate.distributed.sharding import Sharding
from edgemate.distributed.world import World

CPU = torch.device("cpu")


def reductions(rank: int, ranks: int) -> dict[str, Any]:
    """Sums and means of numbers that differ from rank to rank."""
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.full((2,), float(rank))
    average_gradients(torch.optim.SGD([parameter], lr=1.0), images=1 + rank)
    norms = [nn.BatchNorm1d(3), nn.BatchNorm1d(3).eval()]
    for norm in norms:
        norm.running_mean.fill_(rank)
    average_statistics(nn.ModuleList(norms))
    return {
        "sum": sum_over_ranks(torch.tensor([rank, 10])).tolist(),
        "mean": float(mean_over_ranks(torch.tensor(float(rank)))),
        "weighted": float(mean_over_ranks(torch.tensor(float(rank)), images=1 + 2 * rank)),
        "gradient": parameter.grad.tolist(),
        "statistics": [float(norm.running_mean[0]) for norm in norms],
        "same": same_everywhere([torch.ones(3), torch.ones(1)]),
        "differ": same_everywhere([torch.ones(3), torch.full((1,), float(rank))]),
    }


def batch_norm_step(
    rank: int, ranks: int, images: Tensor, affine: bool, momentum: float | None, sizes: list[int] | None
) -> dict[str, Tensor]:
    """Output, gradients and buffers of a batch normalization over all processes, on this one's part of `images`."""
    norm = _norm(images, affine, momentum)
    root = nn.Sequential(norm)
    if ranks > 1:
        assert synchronize(root, CPU) == 1
    bounds = [sum((sizes or [len(images)])[:k]) for k in range(ranks + 1)]
    own = images[bounds[rank] : bounds[rank + 1]].clone().requires_grad_()
    outputs = [root(own) for _ in range(2)]  # the second sees moved statistics
    (outputs[-1] * torch.arange(own[0].numel()).view(own[0].shape).sin() * own.detach().cos()).sum().backward()
    assert own.grad is not None
    parameters = {name: one.grad.clone() for name, one in root[0].named_parameters() if one.grad is not None}
    evaluated = root.eval()(own).detach()
    return {
        "output": outputs[-1].detach(),
        "gradient": own.grad,
        "evaluated": evaluated,
        **{name: sum_over_ranks(value) for name, value in parameters.items()},
        **{name: value.clone() for name, value in root[0].named_buffers()},
    }


def _norm(images: Tensor, affine: bool, momentum: float | None) -> nn.Module:
    kind = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[images.dim()]
    norm = kind(images.shape[1], affine=affine, momentum=momentum)
    if affine:
        with torch.no_grad():
            norm.weight.copy_(torch.arange(images.shape[1]) + 0.5)
            norm.bias.copy_(torch.arange(images.shape[1]) - 1.0)
    return norm


def method_steps(rank: int, ranks: int, name: str, folder: Path, images: int) -> dict[str, Any]:
    """Two calls of a method on this process's part of a batch: losses, gradients and the method's state after them.

    In several processes, losses and gradients are averaged over them, each with the weight of its images.
    """
    model, method = any_method(name, folder)
    if ranks > 1:
        synchronize(model, CPU)
        synchronize(method, CPU)
    for module in (*model.modules(), *method.modules()):
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    whole = gray_batch(images).images
    labels = torch.arange(images) % C
    if method.uses_unlabeled:
        labels[images // 2 :] = -1
    known = [labels >= 0, labels < 0]
    (place,) = Sharding(rank, ranks).micro_batches(int(known[0].sum()))
    chosen = [torch.arange(images)[which][place.slice] for which in known if which.any()]
    own = torch.cat(chosen)
    counted = place.stop - place.start
    weight = ranks * counted / place.total
    losses = []
    for _ in range(2):
        outputs = model.outputs(whole[own], method.at_cut)
        loss = method(outputs, Batch(whole[own], labels[own], ranks / weight), EARLY)
        losses.append(float(mean_over_ranks(weight * loss.total.detach())))
        terms = {key: float(mean_over_ranks(weight * term)) for key, term in loss.terms.items()}
        if loss.total.requires_grad:
            (weight * loss.total).backward()
    stepped = {
        id(one) for optimizer in method.optimizers() for group in optimizer.param_groups for one in group["params"]
    }
    gradients = {
        key: mean_over_ranks(one.grad)
        for key, one in (*model.named_parameters(), *((f"method.{k}", v) for k, v in method.named_parameters()))
        if one.grad is not None and id(one) not in stepped
    }
    state = {**model.state_dict(), **{f"method.{key}": value for key, value in method.state_dict().items()}}
    return {"losses": losses, "terms": terms, "gradients": gradients, "state": state, "report": method.report()}


def train_steps(
    rank: int, ranks: int, tree: dict[str, Any], path: Path, resume: bool = False, fails_in: int | None = None
) -> dict[str, Any]:
    """Train a recipe into a run folder: the loss of every step, the weights at the end, and the run's history.

    Args:
        rank: of this process.
        ranks: number of processes.
        tree: the recipe.
        path: the run folder.
        resume: continue from the last checkpoint.
        fails_in: rank in which the network cannot be built.
    """
    import csv
    import os
    from unittest.mock import patch

    from edgemate.config import parse_recipe
    from edgemate.distributed.world import World
    from edgemate.errors import EdgemateError, UsageError
    from edgemate.models import build_model
    from edgemate.training import train, trainer
    from edgemate.training.task import MultiExitTask

    losses: list[float] = []
    weights: dict[str, Tensor] = {}
    checked = MultiExitTask._check_loss

    def note(task: MultiExitTask, loss: Tensor, batch_index: int) -> None:
        losses.append(float(mean_over_ranks(loss.detach())))
        checked(task, loss, batch_index)

    def keep(task: MultiExitTask) -> None:
        weights.update({name: value.detach().clone() for name, value in task.state_dict().items()})

    def build(*given: Any, **options: Any) -> Any:
        if rank == fails_in:
            raise UsageError("no memory here")
        return build_model(*given, **options)

    places = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks), "GROUP_RANK": "0"}
    with (
        patch.dict(os.environ, places),
        patch.object(MultiExitTask, "_check_loss", note),
        patch.object(MultiExitTask, "on_train_end", keep),
        patch.object(trainer, "build_model", build),
    ):
        world = World(rank, ranks, rank, ranks, starter="torchrun" if ranks > 1 else "nobody")
        try:
            run = train(parse_recipe(tree, "small.yaml"), path, resume=resume, world=world)
        except EdgemateError as error:
            return {"error": [type(error).__name__, str(error)]}
    found: dict[str, Any] = {"losses": losses, "weights": weights}
    if rank:  # the other one may still be writing
        return found
    with run.history_path.open() as file:
        found["rows"] = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    return {**found, "metrics": run.read_metrics()}


def rows_fetched(rank: int, ranks: int, rows: Tensor, wanted: list[list[np.ndarray]]) -> list[Tensor]:
    """What each process fetches of `rows`, of which it holds its part, turn by turn; `wanted` is by turn and rank."""
    own = rows[Sharding(rank, ranks).of_split(len(rows)).slice].clone()
    return [fetch_rows(own, len(rows), rank, each) for each in wanted]


def on_device_epoch(
    rank: int, ranks: int, source: DataSource, indices: np.ndarray, accumulate: int
) -> tuple[list[LabeledBatch], int]:
    """The second epoch of images on the device, and how many images this process holds there."""
    transform = TrainingTransform(input_spec(source), [v2.RandomCrop((8, 6), padding=1), v2.RandomHorizontalFlip()])
    sharding = Sharding(rank, ranks, accumulate)
    loader = train_loader_on(CPU, source.train, indices, transform, batch_size=16, seed=3, sharding=sharding)
    loader.sampler.set_epoch(1)
    return list(loader), len(loader._images._pixels)


def items_in_turns(rank: int, ranks: int, number: int) -> tuple[list[int], list[float]]:
    """Numbers that the processes have in turns, and tensors that all have from rank 0."""
    world = World(rank=rank, ranks=ranks, local_rank=rank, local_ranks=ranks, nodes=1, starter="edgemate")
    connection = Connection(world, dist.group.WORLD)
    tensors = [torch.full((2, 3, 4, 4), float(rank + 1)).to(memory_format=torch.channels_last), torch.tensor(rank)]
    connection.copy_from_first(tensors)
    return list(connection.in_turns(range(rank, number, ranks), number)), [float(one.sum()) for one in tensors]
