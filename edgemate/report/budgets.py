"""The tables behind the sliders: thresholds for each mean cost, and the positions of each exit's slider."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgemate.calibration import CalibrationOptions, Request, calibrate
from edgemate.policies import Confidence
from edgemate.policies.descriptions import format_threshold

BUDGETS = 25
POSITIONS = 101


class Budget(NamedTuple):
    """What `edgemate calibrate --mean-macs` answers.

    Attributes:
        macs: the budget, a whole number of MACs.
        thresholds: those that it finds, `(K-1,)`.
    """

    macs: int
    thresholds: tuple[float, ...]


def solve_budgets(
    logits: npt.NDArray[Any], labels: npt.NDArray[Any], macs: Sequence[float], count: int = BUDGETS
) -> list[Budget]:
    """Thresholds for mean costs between exit 1 and the last, evenly spaced, by the solver of `edgemate calibrate`.

    Args:
        logits: float32 `(N, K, C)` of the calibration split.
        labels: int `(N,)`.
        macs: chained MACs of stopping at each exit, `(K,)`.
        count: number of budgets; those that round to the same number are removed.

    Returns:
        By budget, ascending; none for a network with one exit.
    """
    if len(macs) == 1:
        return []
    wanted = sorted({_rounded_up(budget) for budget in np.linspace(macs[0], macs[-1], count)})
    requests = [Request(f"budget {budget}", mean_macs=float(budget)) for budget in wanted]
    found = calibrate(logits, labels, macs, CalibrationOptions(requests)).points.points
    budgets = []
    for budget, point in zip(wanted, found, strict=True):
        policy = point.as_policy()
        assert isinstance(policy, Confidence)
        budgets.append(Budget(budget, policy.thresholds(len(macs))))
    return budgets


def slider_positions(confidences: npt.NDArray[np.float32], count: int = POSITIONS) -> list[float]:
    """Thresholds from 0 to 1 that hold back about equally many images more from one to the next.

    Most confidences are close to 1, so that a slider with equal steps of the threshold would do all of its work at its
    end. The numbers are rounded as they are printed, so that they can be typed.

    Args:
        confidences: of one exit, `(N,)`.
        count: number of positions; duplicates are removed.
    """
    found = np.quantile(confidences.astype(np.float64), np.linspace(0, 1, count))
    inside = (min(max(float(value), 0.0), 1.0) for value in found)
    return sorted({0.0, *(float(format_threshold(value)) for value in inside), 1.0})


def _rounded_up(macs: float) -> int:
    """To four digits, upwards: a budget below exit 1 alone cannot be met."""
    step = int(10 ** max(math.floor(math.log10(max(macs, 1.0))) - 3, 0))
    return math.ceil(macs / step) * step
