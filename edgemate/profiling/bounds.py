"""What any exit policy lies between: exits taken at random, and exits taken by an oracle that knows the label.

Both are computed from stored logits and are no policies that can be run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Costs = Sequence[float]


@dataclass(frozen=True)
class BoundPoint:
    """A corner of a bound. Between two corners the bound is the straight line, which mixes them by fraction of images.

    Attributes:
        exit: random exit: all images leave here; oracle: the last exit that it may use. 1-based.
        accuracy: top-1 in [0, 1].
        cost: mean cost per image, in the unit of the costs.
    """

    exit: int
    accuracy: float
    cost: float


def random_exit(accuracies: Sequence[float], costs: Costs) -> tuple[BoundPoint, ...]:
    """The lower bound: every image leaves at an exit that is drawn independently of the image.

    If exit k is drawn with probability p_k, accuracy and cost are Σ p_k a_k and Σ p_k c_k. The best that this reaches
    at every cost is the upper convex hull of the exits' own points, from the cheapest to the most accurate one.
    A policy below it has scores that are worse than chance: drawing lots would be as cheap and more accurate.

    Args:
        accuracies: top-1 of each exit, `(K,)`.
        costs: cost of stopping at each exit, `(K,)`.

    Returns:
        The corners, by cost, ascending; their accuracy rises.
    """
    own = zip(accuracies, costs, strict=True)
    points = sorted(
        (BoundPoint(k, float(accuracy), float(cost)) for k, (accuracy, cost) in enumerate(own, start=1)),
        key=lambda point: (point.cost, -point.accuracy),
    )
    hull: list[BoundPoint] = []
    for point in points:
        if hull and point.accuracy <= hull[-1].accuracy:
            continue
        while len(hull) > 1 and _is_below(hull[-1], hull[-2], point):
            hull.pop()
        hull.append(point)
    return tuple(hull)


def oracle_exit(correct: npt.NDArray[np.bool_], costs: Costs) -> tuple[BoundPoint, ...]:
    """The upper bound: every image leaves at the first exit that is right, and at exit 1 if none is.

    Corner k is the oracle that may use exits 1 … k. No policy over these exits is above the lines between the corners:
    an image that exit 1 gets wrong costs at least c_j − c_1 more to get right, where j is the first exit that is right,
    so at every mean cost the best is to serve the images with the smallest j first (a fractional knapsack of equal
    gains, which this order solves exactly).

    Args:
        correct: whether each exit is right, `(N, K)`.
        costs: cost of stopping at each exit, `(K,)`, rising.

    Returns:
        K corners, by cost; the first is exit 1 alone.
    """
    paid = np.asarray(costs, dtype=np.float64)
    images, exits = correct.shape
    first = np.where(correct.any(axis=1), correct.argmax(axis=1), exits)
    arrivals = np.bincount(first, minlength=exits + 1)[:exits]
    extra = np.cumsum(arrivals * (paid - paid[0])) / images
    right = np.cumsum(arrivals)
    return tuple(BoundPoint(k + 1, float(right[k] / images), float(paid[0] + extra[k])) for k in range(exits))


def bound_at(corners: Sequence[BoundPoint], costs: Any) -> npt.NDArray[np.float64]:
    """The bound's accuracy at mean costs `(n,)`, by the lines between its corners; constant outside of them."""
    found: npt.NDArray[np.float64] = np.interp(
        costs, [point.cost for point in corners], [point.accuracy for point in corners]
    )
    return found


def _is_below(middle: BoundPoint, left: BoundPoint, right: BoundPoint) -> bool:
    """Whether `middle` is on or below the line from `left` to `right`."""
    rise = (right.accuracy - left.accuracy) * (middle.cost - left.cost)
    return (middle.accuracy - left.accuracy) * (right.cost - left.cost) <= rise
