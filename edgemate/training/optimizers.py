"""Optimizers by name. Learning rate and weight decay come from the recipe; the rest are options.

Those of timm are in `edgemate.training.timm_optimizers`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.optim import Optimizer

from edgemate.config import Optimization
from edgemate.config.ranges import Rate
from edgemate.registry import OPTIMIZERS

Groups = Iterable[dict[str, Any]]
Decay = Annotated[float, Field(ge=0, lt=1)]


def make_optimizer(settings: Optimization, groups: Groups) -> Optimizer:
    """The recipe's optimizer over parameter groups, which have their own weight decay and may have their own rate.

    Raises:
        UsageError: the name or an option is unknown to the library, an option is out of range, or a user's own
            optimizer is wrong.
    """
    name, options = settings.optimizer, settings.optimizer_options
    library = OPTIMIZERS.library(name)
    known = () if library is None else (library[1],)
    made: Optimizer = OPTIMIZERS.make(name, Optimizer, *known, groups, settings.lr, **options)
    return made


def sgd(groups: Groups, lr: Rate, *, momentum: Decay = 0.9, nesterov: bool = False) -> Optimizer:
    """Stochastic gradient descent with momentum."""
    fused = _fused(groups)
    optimizer = torch.optim.SGD(fused, lr=lr, momentum=momentum, nesterov=nesterov and momentum > 0)
    if momentum > 0:
        # The one kernel knows no parameter whose first gradient comes later than the others'. From a momentum of 0 the
        # first step is the same, so each begins with one.
        for group in fused:
            if group["fused"]:
                optimizer.state.update({one: {"momentum_buffer": torch.zeros_like(one)} for one in group["params"]})
    return optimizer


def adamw(
    groups: Groups, lr: Rate, *, beta1: Decay = 0.9, beta2: Decay = 0.999, eps: Annotated[float, Field(gt=0)] = 1e-8
) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov, Hutter, arXiv 1711.05101)."""
    return torch.optim.AdamW(_fused(groups), lr=lr, betas=(beta1, beta2), eps=eps)


def _fused(groups: Groups) -> list[dict[str, Any]]:
    """The groups, with `fused` set where their parameters are on a GPU, so that a step is one kernel.

    Set on the groups and not on the optimizer: that one would also undo the scaling of fp16's gradients, which
    Lightning cannot clip then, and of which torch's SGD lets an overflow into its momentum.
    """
    return [{**group, "fused": True if all(map(_on_gpu, group["params"])) else None} for group in groups]


def _on_gpu(parameter: Tensor) -> bool:
    return parameter.is_cuda
