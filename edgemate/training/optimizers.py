"""Optimisers by name. Learning rate and weight decay come from the recipe; the rest are options."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import torch
from pydantic import Field
from torch.optim import Optimizer

Groups = Iterable[dict[str, Any]]
Decay = Annotated[float, Field(ge=0, lt=1)]


def sgd(groups: Groups, lr: float, *, momentum: Decay = 0.9, nesterov: bool = False) -> Optimizer:
    """Stochastic gradient descent with momentum."""
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov and momentum > 0)


def adamw(groups: Groups, lr: float, *, beta1: Decay = 0.9, beta2: Decay = 0.999, eps: float = 1e-8) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov, Hutter, arXiv 1711.05101)."""
    return torch.optim.AdamW(groups, lr=lr, betas=(beta1, beta2), eps=eps)
