"""Accuracy and calibration of every exit: logits float (N, K, C), labels int (N,).

Everything is summed over chunks of images, so logits may be mapped from a file that is larger than the memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.core.chunks import map_chunks

Logits = npt.NDArray[np.float16] | npt.NDArray[np.float32] | npt.NDArray[np.float64]
Float64 = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def exit_accuracy(logits: Logits, labels: Labels) -> Float64:
    """Top-1 accuracy per exit, in [0, 1]: (K,)."""
    _check(logits, labels)
    hits = _total(lambda chunk, rows: (chunk.argmax(-1) == labels[rows, None]).sum(0), logits)
    accuracy: Float64 = hits / len(labels)
    return accuracy


def top_k_accuracy(logits: Logits, labels: Labels, k: int) -> Float64:
    """Fraction of images whose label is among the `k` highest logits, per exit, in [0, 1]: (K,).

    Of equal logits the one of the lower class is the higher, and NaN is the highest, as `argmax` has it.
    """
    _check(logits, labels)
    classes = np.arange(logits.shape[-1])

    def hits(chunk: Logits, rows: slice) -> Labels:
        known = np.where(np.isnan(chunk), np.inf, chunk)
        label = labels[rows, None, None]
        of_label = np.take_along_axis(known, label, axis=-1)
        before = (known > of_label) | ((known == of_label) & (classes < label))
        found: Labels = (before.sum(-1) < k).sum(0)
        return found

    fractions: Float64 = _total(hits, logits) / len(labels)
    return fractions


def confusion_matrices(logits: Logits, labels: Labels) -> Labels:
    """Per exit the number of images of class i (row) that it takes for class j (column): int64 (K, C, C)."""
    _check(logits, labels)
    exits, classes = logits.shape[1:]
    counts = np.zeros(exits * classes * classes, dtype=np.int64)
    first = np.arange(exits) * classes * classes
    for rows, named in map_chunks(lambda chunk, _: chunk.argmax(-1), logits):
        cells, images = np.unique(first + labels[rows, None] * classes + named, return_counts=True)
        counts[cells] += images
    return counts.reshape(exits, classes, classes)


def ensemble_accuracy(logits: Logits, labels: Labels) -> float:
    """Top-1 accuracy, in [0, 1], of the mean of all exits' probabilities."""
    _check(logits, labels)

    def hits(chunk: Logits, rows: slice) -> Labels:
        found: Labels = (np.exp(_log_softmax(chunk)).mean(1).argmax(-1) == labels[rows]).sum()
        return found

    return float(_total(hits, logits) / len(labels))


def negative_log_likelihood(logits: Logits, labels: Labels) -> Float64:
    """Mean negative log-likelihood of the label per exit, in nats: (K,)."""
    _check(logits, labels)

    def sums(chunk: Logits, rows: slice) -> Float64:
        found: Float64 = np.take_along_axis(_log_softmax(chunk), labels[rows, None, None], axis=-1)[..., 0].sum(0)
        return found

    mean: Float64 = -_total(sums, logits) / len(labels)
    return mean


def expected_calibration_error(logits: Logits, labels: Labels, bins: int = 15) -> Float64:
    """Expected calibration error per exit, in [0, 1]: (K,).

    Confidences go into `bins` bins of equal width, each open below and closed above. The gap between mean confidence
    and accuracy is averaged over the bins, weighted by their numbers of images (Guo et al. 2017, equation 3). Logits
    that are not finite have confidence 0.
    """
    _check(logits, labels)

    def gaps(chunk: Logits, rows: slice) -> Float64:
        with np.errstate(invalid="ignore"):
            confidence = np.nan_to_num(np.exp(_log_softmax(chunk).max(-1)), nan=0.0)
        return confidence_gaps(confidence, chunk.argmax(-1) == labels[rows, None], bins)

    errors: Float64 = np.minimum(np.abs(_total(gaps, logits)).sum(-1) / len(labels), 1.0)
    return errors


def confidence_gaps(confidence: Float64, correct: npt.NDArray[np.bool_], bins: int) -> Float64:
    """Per exit and bin the number of right answers less the sum of confidences: (K, bins).

    |accuracy − confidence| of a bin, weighted by its fraction of N images, is the absolute value of this over N.

    Args:
        confidence: the largest probability, (n, K).
        correct: whether the answer is right, (n, K).
        bins: as `expected_calibration_error` has them.
    """
    bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    difference = correct - confidence
    exits = range(confidence.shape[1])
    return np.stack([np.bincount(bin_of[:, k], weights=difference[:, k], minlength=bins) for k in exits])


def _total(function: Callable[[Any, slice], Any], logits: Logits) -> Any:
    """The sum of a function's results over all chunks, in order."""
    total: Any = 0
    for _, found in map_chunks(function, logits):
        total = total + found
    return total


def _log_softmax(logits: Logits) -> Float64:
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    log_probabilities: Float64 = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return log_probabilities


def _check(logits: Logits, labels: Labels) -> None:
    if logits.ndim != 3 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(f"logits (N, K, C) and labels (N,) are needed, not {logits.shape} and {labels.shape}")
