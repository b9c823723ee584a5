"""Simulation of a policy on the stored logits of every exit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.calibration.stored_split import StoredSplit
from edgemate.core.chunks import map_chunks
from edgemate.errors import UsageError
from edgemate.policies.policy import Policy
from edgemate.policies.score_policy import ScorePolicy

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
    """`simulate_split` for a single policy.

    Args:
        logits: float32 `(N, K, C)`.
        labels: int `(N,)`.
        costs: the cost of stopping at each exit, `(K,)`, such as its chained MACs.
        policy: any without a deadline, which needs a clock.

    Raises:
        UsageError: the shapes do not fit each other, or the policy cannot be simulated.
    """
    return simulate_split(StoredSplit(logits, labels, costs), policy)


def simulate_split(split: StoredSplit, policy: Policy) -> Simulated:
    """Score a policy on a split, whose own temperatures are not used.

    Policies that compare a score with thresholds, and fixed exits, need what the split keeps of its logits; any other
    reads the logits again, in chunks.

    Args:
        split: the stored logits and costs.
        policy: any without a deadline, which needs a clock.

    Raises:
        UsageError: the policy cannot be simulated.
    """
    if policy.deadline_ms is not None:
        raise UsageError("a deadline can only be measured: stored logits have no time")
    policy.check(split.exits)
    images, exits = split.images, split.exits
    if _has_plain_scores(policy):
        taken = _by_score(split, policy)
    elif policy.fixed_exit is not None:
        taken = _at_fixed(split, policy.fixed_exit)
    else:
        taken = np.empty(images, dtype=np.intp)
        for rows, found in map_chunks(lambda chunk, _: _by_logits(chunk, policy), split.logits):
            taken[rows] = found
    counts = np.bincount(taken - 1, minlength=exits)
    return Simulated(
        accuracy=float(np.mean(split.correct[np.arange(images), taken - 1])),
        mean_cost=math.fsum(counts * np.asarray(split.costs, dtype=np.float64)) / images,
        fractions=tuple((counts / images).tolist()),
        exits_taken=taken,
    )


def _has_plain_scores(policy: Policy) -> bool:
    """Whether it decides as its base class does, by comparing each exit's score with its threshold."""
    if not isinstance(policy, ScorePolicy):
        return False
    own = type(policy)
    return own.begin is ScorePolicy.begin and own.passes is ScorePolicy.passes


def _by_score(split: StoredSplit, policy: Policy) -> npt.NDArray[np.intp]:
    assert isinstance(policy, ScorePolicy)
    exits = split.exits
    found = split.reductions.scores(type(policy), policy.temperatures(exits))
    taken = np.full(split.images, exits)
    for exit, threshold in reversed(list(enumerate(policy.thresholds(exits), start=1))):
        score = found[:, exit - 1]
        # A score that is missing is NaN, which passes no threshold.
        taken[score > threshold if policy.rises else score < threshold] = exit
    return taken


def _at_fixed(split: StoredSplit, fixed: int) -> npt.NDArray[np.intp]:
    taken = np.full(split.images, split.exits)
    for exit in range(split.exits - 1, fixed - 1, -1):
        taken[split.reductions.finite[:, exit - 1]] = exit
    return taken


def _by_logits(logits: Array, policy: Policy) -> npt.NDArray[np.intp]:
    """The exit at which each image of a chunk `(n, K, C)` stops."""
    images, exits, _ = logits.shape
    decider = policy.begin(images, exits)
    taken = np.full(images, exits)
    rows = np.arange(images)
    for exit in range(1, exits):
        stop = decider.stop(exit, logits[rows, exit - 1], 0.0)
        taken[rows[stop]] = exit
        kept = np.flatnonzero(~stop)
        rows = rows[kept]
        decider.keep(kept)
    return taken
