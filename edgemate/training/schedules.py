"""Learning-rate schedules by name: each gives the factor on the recipe's learning rate at a position in epochs.

Positions run from 0 to `epochs` and move with every step, so a schedule does not depend on the batch size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import Field

from edgemate.config import Optimization
from edgemate.errors import UsageError
from edgemate.registry import SCHEDULES

Schedule = Callable[[float], float]
Fraction = Annotated[float, Field(ge=0, le=1)]


def learning_rate(settings: Optimization) -> Schedule:
    """The learning rate of the network at a position in epochs, warm-up included."""
    factor = with_warmup(
        make_schedule(settings.schedule, settings.epochs, settings.schedule_options), settings.warmup_epochs
    )
    return lambda position: settings.lr * factor(position)


def make_schedule(name: str, epochs: float, options: Mapping[str, Any]) -> Schedule:
    """The schedule that a recipe names, without its warm-up. Raises UsageError for a user's own that is wrong."""
    schedule: Schedule = SCHEDULES.make(name, Callable, epochs, **options)
    factor = SCHEDULES.call(name, schedule, 0.0)
    if not isinstance(factor, (int, float)):
        raise UsageError(f"schedule {name!r}: its function must return a factor, not {type(factor).__name__}")
    return schedule


def constant(epochs: float) -> Schedule:
    """Factor 1 in all epochs."""
    return lambda position: 1.0


def cosine(epochs: float, *, floor: Fraction = 0.0) -> Schedule:
    """Half a cosine from 1 to `floor` (SGDR without restarts, arXiv 1608.03983)."""
    return lambda position: _cosine(1.0, floor, position / epochs)


def multi_step(
    epochs: float, *, milestones: list[Annotated[float, Field(gt=0)]], gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
) -> Schedule:
    """1, times `gamma` for each milestone (in epochs) that has passed."""
    return lambda position: gamma ** sum(position >= milestone for milestone in milestones)


def one_cycle(epochs: float, *, rise: Fraction = 0.3, first: Fraction = 0.04, last: Fraction = 1e-4) -> Schedule:
    """Cosine up from `first` to 1 over the fraction `rise` of all epochs, then down to `last` (arXiv 1708.07120).

    The momentum is not cycled.
    """

    def factor(position: float) -> float:
        done = position / epochs
        if done < rise:
            return _cosine(first, 1.0, done / rise)
        return _cosine(1.0, last, (done - rise) / (1 - rise) if rise < 1 else 1.0)

    return factor


def with_warmup(schedule: Schedule, warmup: float) -> Schedule:
    """`schedule`, its first `warmup` epochs scaled by a line from 0 to 1."""
    if warmup <= 0:
        return schedule
    return lambda position: schedule(position) * min(1.0, position / warmup)


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(max(done, 0.0), 1.0))) / 2
