"""95 % confidence intervals of accuracies, and whether two intervals overlap."""

from __future__ import annotations

import math

Interval = tuple[float, float]


def are_apart(one: Interval, other: Interval) -> bool:
    """Whether two intervals do not overlap."""
    return one[1] < other[0] or other[1] < one[0]


def wilson(accuracy: float, images: int, z: float = 1.96) -> Interval:
    """The 95 % interval of a fraction of so many images (Wilson 1927)."""
    if images < 1:
        return 0.0, 1.0
    scale = 1 + z * z / images
    center = (accuracy + z * z / (2 * images)) / scale
    half = z * math.sqrt(accuracy * (1 - accuracy) / images + z * z / (4 * images * images)) / scale
    return center - half, center + half
