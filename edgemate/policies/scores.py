"""Scores of logits: float32 `(N, C)` in, one number per image out, float32 `(N,)`.

All take finite logits. They run between two segments of a network that may take a millisecond, so each is a few numpy
calls. Those that end in `_of` take one row, `(C,)`, and give one float32, bit by bit the same as for a batch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_ONE: np.float32 = np.float32(1)
_ZERO: np.float32 = np.float32(0)


def softmax(logits: Array) -> Array:
    """The softmax of each row: float32 `(N, C)`."""
    probabilities = _exponentials(logits)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities


def max_probability(logits: Array) -> Array:
    """The largest softmax probability, in `[1/C, 1]`; also called confidence."""
    # The largest exponential is 1 by construction, so the others need no division.
    largest: Array = 1 / _exponentials(logits).sum(axis=1)
    return largest


def entropy(logits: Array) -> Array:
    """The entropy of the softmax in nats: 0 if one class has probability 1, `log(C)` if all are equally likely."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    total = exponentials.sum(axis=1)
    # log(total) - E[shifted] is -sum(p log p) without a logarithm of a probability that may be 0.
    nats: Array = np.maximum(np.log(total) - (exponentials * shifted).sum(axis=1) / total, 0)
    return nats


def margin(logits: Array) -> Array:
    """The largest softmax probability less the second largest, in `[0, 1]`; 1 where there is only one class."""
    if logits.shape[1] == 1:
        return np.ones(len(logits), dtype=logits.dtype)
    top = np.partition(softmax(logits), -2, axis=1)
    lead: Array = top[:, -1] - top[:, -2]
    return lead


def finite(logits: Array) -> npt.NDArray[np.bool_]:
    """Which images have finite logits only: bool `(N,)`."""
    mask: npt.NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(logits), axis=1)
    return mask


def max_probability_of(row: Array) -> np.float32:
    """`max_probability` of one row."""
    shifted = row - row[row.argmax()]
    np.exp(shifted, shifted)
    largest: np.float32 = _ONE / np.add.reduce(shifted)
    return largest


def entropy_of(row: Array) -> np.float32:
    """`entropy` of one row."""
    shifted = row - row[row.argmax()]
    exponentials = np.exp(shifted)
    total = np.add.reduce(exponentials)
    nats: np.float32 = np.log(total) - np.add.reduce(exponentials * shifted) / total
    return nats if not nats < _ZERO else _ZERO


def margin_of(row: Array) -> np.float32:
    """`margin` of one row."""
    if len(row) == 1:
        return _ONE
    top = row.argmax()
    exponentials = row - row[top]
    np.exp(exponentials, exponentials)
    total = np.add.reduce(exponentials)
    exponentials[top] = -1  # it was 1; the largest of the others is the second, and dividing keeps the order
    lead: np.float32 = _ONE / total - exponentials[exponentials.argmax()] / total
    return lead


def finite_of(row: Array) -> bool:
    """Whether all logits of one row `(C,)` are finite."""
    # One call where the squares do not overflow; a NaN or an infinity is never lost in a sum of squares.
    return math.isfinite(row.dot(row)) or bool(np.isfinite(row).all())


def _exponentials(logits: Array) -> Array:
    shifted: Array = logits - logits.max(axis=1, keepdims=True)
    np.exp(shifted, out=shifted)
    return shifted
