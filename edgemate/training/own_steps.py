"""Optimizers and schedules that are not ours, tried on one parameter before anything is trained."""

from __future__ import annotations

import torch
from torch.nn import Parameter

from edgemate.config import Optimization
from edgemate.training.optimizers import make_optimizer
from edgemate.training.schedules import make_schedule


def check_optimizer(settings: Optimization) -> None:
    """Make the optimizer. Raises UsageError if it is wrong."""
    make_optimizer(settings, [{"params": [Parameter(torch.zeros(2, 2))], "weight_decay": settings.weight_decay}])


def check_schedule(settings: Optimization) -> None:
    """Make the schedule. Raises UsageError if it is wrong."""
    make_schedule(settings.schedule, settings.epochs, settings.schedule_options)
