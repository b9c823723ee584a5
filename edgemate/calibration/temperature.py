"""Temperature scaling (Guo et al. 2017, arXiv 1706.04599): dividing logits so that confidence is calibrated.

The negative log-likelihood is convex in the inverse temperature. Newton's method, kept between bounds, finds where its
slope is 0, first on a sample of the images and from there on all of them. Every step is a sum over chunks of images, so
the result is exact for any number of them, and takes about four passes where the sample is not all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.core.chunks import map_chunks, take_rows
from edgemate.core.scoring import confidence_gaps, exit_accuracy
from edgemate.policies import scores

Array = npt.NDArray[Any]

LOWEST, HIGHEST = 0.1, 10.0
BINS = 15
SAMPLE_BYTES = 64 << 20
"""In float32, of the logits that the search starts with."""

_STEPS = 100
_CLOSE = 1e-8  # relative; Newton's error is then about the square of it
_FLAT = 1e-12  # a variance of logits, in which rounding may be all there is


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
    """`fit_temperatures` for one exit: logits float32 `(N, C)`, labels int `(N,)`."""
    return fit_temperatures(logits[:, None], labels)[0]


def fit_temperatures(logits: Array, labels: Array) -> list[Fitted]:
    """For each exit the temperature with the lowest negative log-likelihood, from 0.1 to 10.

    Images with a logit that is not finite are left out. An exit that is always right has no such temperature, since
    ever lower ones are better: it gets the lowest.

    Args:
        logits: float32 or float16 `(N, K, C)`, in memory or mapped from a file.
        labels: int `(N,)`.
    """
    found = find_temperatures(logits, labels)
    before, after = (_quality(logits, labels, divisors) for divisors in ([1.0] * len(found), found))
    return [Fitted(t, b[0], a[0], b[1], a[1]) for t, b, a in zip(found, before, after, strict=True)]


def find_temperatures(logits: Array, labels: Array) -> list[float]:
    """The temperatures of `fit_temperatures` alone, `(K,)`, which takes fewer passes."""
    images, exits, classes = logits.shape
    if classes == 1 or not images or not exits:
        return [1.0] * exits
    inverse = [1.0] * exits
    rows = max(SAMPLE_BYTES // (4 * exits * classes), 1)
    if rows < images:
        chosen = np.sort(np.random.default_rng(0).choice(images, rows, replace=False))
        inverse = _minima(take_rows(logits, chosen), labels[chosen], inverse)
    return [1 / value for value in _minima(logits, labels, inverse)]


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
    accuracy, chance = float(exit_accuracy(logits[:, None], labels)[0]), 1 / logits.shape[1]
    message = (
        f"exit {exit}: temperature {found.temperature:.3f} is the {'highest' if highest else 'lowest'} that is tried"
    )
    if accuracy <= chance + 2 * math.sqrt(chance * (1 - chance) / len(labels)):
        return (
            f"{message}; its accuracy on the split, {accuracy:.1%}, is near chance, {chance:.1%}: train it longer, or "
            "stop at other exits"
        )
    return f"{message}; its accuracy on the split is {accuracy:.1%}"


def _minima(logits: Array, labels: Array, starts: Sequence[float]) -> list[float]:
    """The best inverse temperature of each exit. Exits that are not done share every pass."""
    searches = {exit: _newton(start) for exit, start in enumerate(starts)}
    wanted = {exit: next(search) for exit, search in searches.items()}
    found = dict(enumerate(starts))
    while wanted:
        slopes = _slopes(logits, labels, wanted)
        for exit, (slope, curvature, images) in slopes.items():
            if not images:
                found[exit] = 1.0
                del wanted[exit]
                continue
            try:
                wanted[exit] = searches[exit].send((slope / images, curvature / images))
            except StopIteration as end:
                found[exit] = end.value
                del wanted[exit]
    return list(found.values())


def _newton(start: float) -> Generator[float, tuple[float, float], float]:
    """Yields inverse temperatures, is sent the slope and curvature there, and returns where the slope is 0."""
    low, high = bounds = 1 / HIGHEST, 1 / LOWEST
    here = min(max(start, low), high)
    previous = math.inf
    for _ in range(_STEPS):
        slope, curvature = yield here
        if slope > 0:
            if here == bounds[0]:
                break
            high = here
        else:
            if here == bounds[1]:
                break
            low = here
        step = -slope / curvature if curvature > 0 else math.inf if slope <= 0 else -math.inf
        following = here + step
        if abs(step) <= _CLOSE * here and curvature > _FLAT:
            return min(max(following, bounds[0]), bounds[1])
        if not low < following < high or abs(step) > previous / 2:
            # Newton's steps lead out of what is known to hold the minimum, or do not shrink, as where an exit is always
            # right. To the bound if it was not tried, else halfway.
            bound = low if step < 0 else high
            following = bound if bound in bounds else math.sqrt(low * high)
            if abs(following - here) <= _CLOSE * here:
                return following
        previous = abs(following - here)
        here = following
    return here


def _slopes(logits: Array, labels: Array, inverse: dict[int, float]) -> dict[int, tuple[float, float, int]]:
    """Slope and curvature of the summed negative log-likelihood at each exit's inverse temperature, and its images."""

    def of_chunk(chunk: Array, rows: slice) -> Array:
        sums = np.zeros((len(inverse), 3))
        for row, (exit, factor) in enumerate(inverse.items()):
            given, label = _finite(chunk[:, exit], labels[rows])
            if not len(given):
                continue
            given -= given.max(axis=1, keepdims=True)
            weights = np.exp(given * factor)
            total = weights.sum(axis=1)
            mean = np.einsum("ij,ij->i", weights, given) / total
            weights *= given
            square = np.einsum("ij,ij->i", weights, given) / total
            sums[row] = (
                (mean - given[np.arange(len(label)), label]).sum(),
                np.maximum(square - mean**2, 0).sum(),
                len(label),
            )
        return sums

    total = _summed(of_chunk, logits)
    return {exit: (float(row[0]), float(row[1]), int(row[2])) for exit, row in zip(inverse, total, strict=True)}


def _quality(logits: Array, labels: Array, divisors: Sequence[float]) -> list[tuple[float, float]]:
    """Negative log-likelihood and expected calibration error of each exit at its temperature."""

    def of_chunk(chunk: Array, rows: slice) -> Array:
        sums = np.zeros((len(divisors), 2 + BINS))
        for exit, divisor in enumerate(divisors):
            given, label = _finite(chunk[:, exit], labels[rows])
            if not len(given):
                continue
            correct = given.argmax(axis=1) == label
            given /= divisor
            given -= given.max(axis=1, keepdims=True)
            logarithm = np.log(np.exp(given).sum(axis=1))
            likelihood = given[np.arange(len(label)), label] - logarithm
            gaps = confidence_gaps(np.exp(-logarithm)[:, None], correct[:, None], BINS)
            sums[exit] = -likelihood.sum(), len(label), *gaps[0]
        return sums

    found = []
    for likelihood, images, *gaps in _summed(of_chunk, logits):
        count = max(float(images), 1.0)
        found.append((max(float(likelihood) / count, 0.0), min(float(np.abs(gaps).sum()) / count, 1.0)))
    return found


def _finite(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Rows without an infinite or missing logit, as float64, and their labels."""
    rows = scores.finite(logits)
    return (logits if rows.all() else logits[rows]).astype(np.float64), labels if rows.all() else labels[rows]


def _summed(function: Callable[[Array, slice], Array], logits: Array) -> Array:
    total: Any = 0.0
    for _, found in map_chunks(function, logits):
        total = total + found
    return np.asarray(total)
