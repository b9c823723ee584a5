"""Accuracy and calibration of every exit: logits float (N, K, C), labels int (N,)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Float64 = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def exit_accuracy(logits: Logits, labels: Labels) -> Float64:
    """Top-1 accuracy per exit, in [0, 1]: (K,)."""
    _check(logits, labels)
    correct: Float64 = (logits.argmax(-1) == labels[:, None]).mean(0)
    return correct


def top_k_accuracy(logits: Logits, labels: Labels, k: int) -> Float64:
    """Fraction of images whose label is among the `k` highest logits, per exit, in [0, 1]: (K,).

    Of equal logits the one of the lower class is the higher, and NaN is the highest, as `argmax` has it.
    """
    _check(logits, labels)
    classes = np.arange(logits.shape[-1])
    fractions = np.empty(logits.shape[1])
    for exit in range(logits.shape[1]):
        of_exit = np.where(np.isnan(logits[:, exit]), np.inf, logits[:, exit])
        of_label = np.take_along_axis(of_exit, labels[:, None], axis=1)
        before = (of_exit > of_label) | ((of_exit == of_label) & (classes < labels[:, None]))
        fractions[exit] = (before.sum(1) < k).mean()
    return fractions


def confusion_matrices(logits: Logits, labels: Labels) -> Labels:
    """Per exit the number of images of class i (row) that it takes for class j (column): int64 (K, C, C)."""
    _check(logits, labels)
    exits, classes = logits.shape[1:]
    named = logits.argmax(-1)
    counts = np.empty((exits, classes, classes), dtype=np.int64)
    for exit in range(exits):
        cells = np.bincount(labels * classes + named[:, exit], minlength=classes * classes)
        counts[exit] = cells.reshape(classes, classes)
    return counts


def ensemble_accuracy(logits: Logits, labels: Labels) -> float:
    """Top-1 accuracy, in [0, 1], of the mean of all exits' probabilities."""
    _check(logits, labels)
    mean = np.exp(_log_softmax(logits)).mean(1)
    return float((mean.argmax(-1) == labels).mean())


def negative_log_likelihood(logits: Logits, labels: Labels) -> Float64:
    """Mean negative log-likelihood of the label per exit, in nats: (K,)."""
    _check(logits, labels)
    of_label = np.take_along_axis(_log_softmax(logits), labels[:, None, None], axis=-1)[..., 0]
    mean: Float64 = -of_label.mean(0)
    return mean


def expected_calibration_error(logits: Logits, labels: Labels, bins: int = 15) -> Float64:
    """Expected calibration error per exit, in [0, 1]: (K,).

    Confidences go into `bins` bins of equal width, each open below and closed above. The gap between mean confidence
    and accuracy is averaged over the bins, weighted by their numbers of images (Guo et al. 2017, equation 3). Logits
    that are not finite have confidence 0.
    """
    _check(logits, labels)
    with np.errstate(invalid="ignore"):
        confidence = np.nan_to_num(np.exp(_log_softmax(logits).max(-1)), nan=0.0)
    correct = logits.argmax(-1) == labels[:, None]
    bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    errors = np.empty(logits.shape[1])
    for k in range(logits.shape[1]):
        # |accuracy − confidence| of a bin, weighted by its fraction of the images, is |sum of the differences| / N.
        gaps = np.bincount(bin_of[:, k], weights=correct[:, k] - confidence[:, k], minlength=bins)
        errors[k] = min(np.abs(gaps).sum() / len(labels), 1.0)
    return errors


def _log_softmax(logits: Logits) -> Float64:
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    log_probabilities: Float64 = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return log_probabilities


def _check(logits: Logits, labels: Labels) -> None:
    if logits.ndim != 3 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(f"logits (N, K, C) and labels (N,) are needed, not {logits.shape} and {labels.shape}")
