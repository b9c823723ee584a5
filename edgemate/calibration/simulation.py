"""Simulation of a policy on the stored logits of every exit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.calibration.stored_split import StoredSplit
from edgemate.errors import UsageError
from edgemate.policies.policy import Policy

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Simulated:
    """The result of a simulation. No graph is run, so it has costs and no measured times.

    Attributes:
        accuracy: top-1, as a fraction.
        mean_cost: per image, in the unit of the costs given.
        fractions: the fraction of images that stop at each exit, `(K,)`.
        exits_taken: int `(N,)`, counted from 1.
    """

    accuracy: float
    mean_cost: float
    fractions: tuple[float, ...]
    exits_taken: npt.NDArray[np.intp]


def simulate(logits: Array, labels: Array, costs: Sequence[float], policy: Policy) -> Simulated:
    """Score a policy on stored logits.

    Args:
        logits: float32 `(N, K, C)`.
        labels: int `(N,)`.
        costs: the cost of stopping at each exit, `(K,)`, such as its chained MACs.
        policy: any without a deadline, which needs a clock.

    Raises:
        UsageError: the shapes do not fit each other, or the policy cannot be simulated.
    """
    split = StoredSplit(logits, labels, costs)
    images, exits = split.images, split.exits
    if policy.deadline_ms is not None:
        raise UsageError("a deadline can only be measured: stored logits have no time")
    decider = policy.begin(images, exits)
    taken = np.full(images, exits)
    rows = np.arange(images)
    for exit in range(1, exits):
        stop = decider.stop(exit, logits[rows, exit - 1], 0.0)
        taken[rows[stop]] = exit
        kept = np.flatnonzero(~stop)
        rows = rows[kept]
        decider.keep(kept)
    named = logits[np.arange(images), taken - 1].argmax(axis=1)
    counts = np.bincount(taken - 1, minlength=exits)
    return Simulated(
        accuracy=float(np.mean(named == labels)),
        mean_cost=math.fsum(counts * np.asarray(costs, dtype=np.float64)) / images,
        fractions=tuple((counts / images).tolist()),
        exits_taken=taken,
    )
