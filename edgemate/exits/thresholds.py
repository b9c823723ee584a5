"""Threshold calibration: what a policy would do, and which threshold to take, from stored logits of every exit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.errors import UsageError
from edgemate.exits import scores
from edgemate.exits.confidence import Confidence
from edgemate.exits.deadline import Deadline
from edgemate.exits.operating_points import Expected, OperatingPoint, OperatingPoints
from edgemate.exits.policy import Policy

Array = npt.NDArray[Any]

# How much accuracy against the last exit, as a fraction, each default operating point may give up.
MAX_DROPS = {"fast": 0.02, "balanced": 0.005, "accurate": 0.0}
NEVER = 1.0  # no probability is above it


@dataclass(frozen=True)
class Simulated:
    """What a policy does to stored logits: nothing was run, so there are costs here and no times.

    `accuracy` is top-1; `mean_cost` is in the unit of the costs given; `shares` `(K,)` is the fraction of pictures that
    stop at each exit; `exits_taken` int `(N,)` counts exits from 1.
    """

    accuracy: float
    mean_cost: float
    shares: tuple[float, ...]
    exits_taken: npt.NDArray[np.intp]


def simulate(logits: Array, labels: Array, costs: Sequence[float], policy: Policy) -> Simulated:
    """Score a policy on stored logits.

    Args:
        logits: float32 `(N, K, C)`.
        labels: int `(N,)`.
        costs: the cost of stopping at each exit, `(K,)`, such as its chained MACs.
        policy: any but `Deadline`, which needs a clock.

    Raises:
        UsageError: the shapes do not fit each other, or the policy cannot be simulated.
    """
    pictures, exits = _check(logits, labels, costs)
    if isinstance(policy, Deadline):
        raise UsageError("a deadline can only be measured: stored logits have no time")
    decider = policy.begin(pictures, exits)
    taken = np.full(pictures, exits)
    rows = np.arange(pictures)
    for exit in range(1, exits):
        stop = decider.stop(exit, logits[rows, exit - 1], 0.0)
        taken[rows[stop]] = exit
        kept = np.flatnonzero(~stop)
        rows = rows[kept]
        decider.keep(kept)
    named = logits[np.arange(pictures), taken - 1].argmax(axis=1)
    counts = np.bincount(taken - 1, minlength=exits)
    return Simulated(
        accuracy=float(np.mean(named == labels)),
        mean_cost=math.fsum(counts * np.asarray(costs, dtype=np.float64)) / pictures,
        shares=tuple((counts / pictures).tolist()),
        exits_taken=taken,
    )


def choose_confidence(
    logits: Array,
    labels: Array,
    costs: Sequence[float],
    max_drop: float,
    *,
    temperatures: Sequence[float] | None = None,
) -> float:
    """The confidence threshold, one for all exits, of the least mean cost that keeps the accuracy.

    Exact: every threshold at which some picture changes its exit is tried. Of equal costs the more accurate is taken,
    and of thresholds that all do the same the middle one, so that rounding elsewhere does not move a picture.

    Args:
        logits: float32 `(N, K, C)`.
        labels: int `(N,)`.
        costs: the cost of stopping at each exit, `(K,)`.
        max_drop: how far the accuracy on these pictures may be below the last exit's, as a fraction (0.005 is half a
            point).
        temperatures: what the logits of each exit but the last are divided by, `(K-1,)`.

    Raises:
        UsageError: the shapes do not fit each other, or `max_drop` is not from 0 to 1.
    """
    pictures, exits = _check(logits, labels, costs)
    if not 0 <= max_drop <= 1:
        raise UsageError(f"max_drop: must be a fraction from 0 to 1, not {max_drop}")
    if temperatures is not None and len(temperatures) != exits - 1:
        raise UsageError(f"temperatures: {len(temperatures)} given; {exits} exits need {exits - 1}, all but the last")
    # Picture i has left by exit k once a score of its first k exits is above the threshold. So as the threshold rises
    # past the running maximum at exit k, the picture moves from exit k to exit k+1, and that is all that ever changes.
    events = np.maximum.accumulate(_confidences(logits, temperatures), axis=1).ravel()
    correct = (logits.argmax(axis=2) == labels[:, None]).astype(np.int64)
    more_correct = np.diff(correct, axis=1).ravel()
    more_cost = np.tile(np.diff(np.asarray(costs, dtype=np.float64)), pictures)
    order = np.argsort(events, kind="stable")
    events = events[order]
    # Below every event all pictures stop at exit 1, then each distinct event is one candidate.
    last = np.flatnonzero(np.append(events[1:] != events[:-1], True)) if len(events) else np.empty(0, dtype=np.intp)
    hits = correct[:, 0].sum() + np.append(0, np.cumsum(more_correct[order])[last])
    cost = np.append(0.0, np.cumsum(more_cost[order])[last])
    thresholds = _between(np.append(np.float32(0), events[last].astype(np.float32)))
    allowed = np.flatnonzero(hits >= correct[:, -1].sum() - max_drop * pictures - 1e-9)
    best = allowed[np.lexsort((-hits[allowed], cost[allowed]))[0]]
    return float(thresholds[best])


def operating_points(
    logits: Array, labels: Array, costs: Sequence[float], *, temperatures: Sequence[float] | None = None
) -> OperatingPoints:
    """The default operating points, chosen on the calibration split: `fast`, `balanced`, `accurate` and `full`.

    The first three give up at most 2, 0.5 and 0 points of accuracy against the last exit; `full` runs the whole
    network. Arguments and errors are `choose_confidence`'s; costs are MACs.
    """
    chosen = {
        name: choose_confidence(logits, labels, costs, drop, temperatures=temperatures)
        for name, drop in MAX_DROPS.items()
    }
    early = logits.shape[1] - 1
    points = []
    for name, threshold in {**chosen, "full": NEVER}.items():
        thresholds = (threshold,) * early
        policy = Confidence(thresholds, temperature=temperatures)
        found = simulate(logits, labels, costs, policy)
        points.append(
            OperatingPoint(
                name=name,
                thresholds=thresholds,
                temperatures=None if temperatures is None else tuple(temperatures),
                expected=Expected(accuracy=found.accuracy, mean_macs=found.mean_cost, shares=found.shares),
            )
        )
    return OperatingPoints(points=tuple(points))


def _between(candidates: Array) -> Array:
    """Float32 thresholds halfway from each candidate, ascending, to the next; the candidate where none lies between."""
    following = np.append(candidates[1:], np.float32(NEVER))
    halfway = candidates + (following - candidates) / 2
    return np.where(halfway < following, halfway, candidates)


def _confidences(logits: Array, temperatures: Sequence[float] | None) -> Array:
    """The score of every exit but the last, `(N, K-1)`; 0, which is above no threshold, where a logit is no number."""
    pictures, exits, classes = logits.shape
    early = logits[:, : exits - 1]
    if temperatures is not None:
        early = early / np.asarray(temperatures, dtype=np.float32)[:, None]
    flat = early.reshape(-1, classes)
    finite = scores.finite(flat)
    confidences = np.where(finite, scores.max_probability(np.where(finite[:, None], flat, 0)), 0)
    return confidences.reshape(pictures, exits - 1)


def _check(logits: Array, labels: Array, costs: Sequence[float]) -> tuple[int, int]:
    if logits.ndim != 3 or not logits.size:
        raise UsageError(f"logits: must be (pictures, exits, classes) and not empty, not {logits.shape}")
    pictures, exits, _ = logits.shape
    if labels.shape != (pictures,) or len(costs) != exits:
        raise UsageError(
            f"logits {logits.shape} need labels ({pictures},) and {exits} costs, not {labels.shape} and {len(costs)}"
        )
    return pictures, exits
