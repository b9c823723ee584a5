"""Temperature scaling (Guo et al. 2017, arXiv 1706.04599): dividing logits so that confidence is calibrated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.core.scoring import expected_calibration_error, negative_log_likelihood
from edgemate.policies import scores

Array = npt.NDArray[Any]

LOWEST, HIGHEST = 0.1, 10.0
BINS = 15


@dataclass(frozen=True)
class Fitted:
    """One exit's temperature.

    Attributes:
        temperature: what the logits are divided by.
        nll_before, nll_after: negative log-likelihood in nats, without and with it.
        ece_before, ece_after: expected calibration error in [0, 1], without and with it.
    """

    temperature: float
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float


def fit_temperature(logits: Array, labels: Array) -> Fitted:
    """The temperature with the lowest negative log-likelihood, from 0.1 to 10.

    Images with a logit that is not finite are left out. An exit that is always right has no such temperature, since
    ever lower ones are better: it gets the lowest.

    Args:
        logits: float32 `(N, C)` of one exit.
        labels: int `(N,)`.
    """
    finite = scores.finite(logits)
    logits, labels = logits[finite].astype(np.float64), labels[finite]
    if not len(logits):
        return Fitted(1.0, 0.0, 0.0, 0.0, 0.0)
    # Convex in the inverse temperature, so the sign of its slope is the side of the minimum.
    low, high = 1 / HIGHEST, 1 / LOWEST
    for _ in range(50):
        middle = math.sqrt(low * high)
        if _slope(logits, labels, middle) > 0:
            high = middle
        else:
            low = middle
    temperature = 1.0 if logits.shape[1] == 1 else 1 / math.sqrt(low * high)
    scaled = logits / temperature
    return Fitted(temperature, _nll(logits, labels), _nll(scaled, labels), _ece(logits, labels), _ece(scaled, labels))


def temperature_warning(exit: int, found: Fitted, logits: Array, labels: Array) -> str | None:
    """One sentence if a temperature is at a bound of the search, where it means little; else None.

    Args:
        exit: k, counted from 1.
        found: the result of `fit_temperature`.
        logits: float32 `(N, C)` of the exit.
        labels: int `(N,)`.
    """
    highest = math.isclose(found.temperature, HIGHEST, rel_tol=1e-3)
    if not highest and not math.isclose(found.temperature, LOWEST, rel_tol=1e-3):
        return None
    accuracy, chance = float((logits.argmax(axis=1) == labels).mean()), 1 / logits.shape[1]
    message = (
        f"exit {exit}: temperature {found.temperature:.3f} is the {'highest' if highest else 'lowest'} that is tried"
    )
    if accuracy <= chance + 2 * math.sqrt(chance * (1 - chance) / len(labels)):
        return (
            f"{message}; its accuracy on the split, {accuracy:.1%}, is near chance, {chance:.1%}: train it longer, or "
            "stop at other exits"
        )
    return f"{message}; its accuracy on the split is {accuracy:.1%}"


def _slope(logits: Array, labels: Array, inverse: float) -> float:
    expected = (scores.softmax(logits * inverse) * logits).sum(axis=1)
    return float((expected - logits[np.arange(len(labels)), labels]).mean())


def _nll(logits: Array, labels: Array) -> float:
    return max(float(negative_log_likelihood(logits[:, None], labels)[0]), 0.0)


def _ece(logits: Array, labels: Array) -> float:
    return float(expected_calibration_error(logits[:, None], labels, BINS)[0])
