"""A user's own optimizer and schedule, tried on one parameter before anything is trained."""

from __future__ import annotations

import torch
from torch.nn import Parameter

from edgemate.config import Optimization
from edgemate.registry import OPTIMIZERS, SCHEDULES
from edgemate.training.optimizers import make_optimizer
from edgemate.training.schedules import make_schedule


def check_own_steps(settings: Optimization) -> None:
    """Make the optimizer and the schedule if they are named by dotted paths. Raises UsageError if one is wrong."""
    if settings.optimizer not in OPTIMIZERS:
        make_optimizer(settings, [{"params": [Parameter(torch.zeros(1))], "weight_decay": settings.weight_decay}])
    if settings.schedule not in SCHEDULES:
        make_schedule(settings.schedule, settings.epochs, settings.schedule_options)
