"""Optimizers and schedules that are not ours, tried on one parameter before anything is trained."""

from __future__ import annotations

import torch
from torch.nn import Parameter

from edgemate.config import Optimization
from edgemate.registry import OPTIMIZERS, SCHEDULES
from edgemate.training.optimizers import make_optimizer
from edgemate.training.schedules import make_schedule


def check_own_steps(settings: Optimization) -> None:
    """Make a library's or a user's optimizer, and a user's schedule. Raises UsageError if one is wrong."""
    if settings.optimizer not in OPTIMIZERS or OPTIMIZERS.library(settings.optimizer) is not None:
        make_optimizer(settings, [{"params": [Parameter(torch.zeros(2, 2))], "weight_decay": settings.weight_decay}])
    if settings.schedule not in SCHEDULES:
        make_schedule(settings.schedule, settings.epochs, settings.schedule_options)
