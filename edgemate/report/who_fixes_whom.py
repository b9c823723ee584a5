"""Which exit is right where another is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def who_fixes_whom(correct: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """How many images exit i gets wrong and exit j gets right: int64 `(K, K)`, zero on the diagonal.

    Args:
        correct: whether each exit is right, `(N, K)`.
    """
    right = correct.astype(np.int64)
    counts: npt.NDArray[np.int64] = (1 - right).T @ right
    return counts


def never_right(correct: npt.NDArray[np.bool_]) -> int:
    """How many images no exit gets right."""
    return int((~correct.any(axis=1)).sum())


def reliability(confidences: npt.NDArray[Any], correct: npt.NDArray[np.bool_], bins: int = 15) -> list[dict[str, Any]]:
    """The reliability diagram of one exit: its bins that have images.

    Args:
        confidences: the largest probability, `(n,)`, in [0, 1].
        correct: whether the answer is right, `(n,)`.
        bins: of equal width, each open below and closed above, as the expected calibration error has them.

    Returns:
        For each its mean confidence, accuracy and number of images.
    """
    bin_of = np.clip(np.ceil(confidences.astype(np.float64) * bins).astype(np.int64) - 1, 0, bins - 1)
    found = []
    for number in np.unique(bin_of):
        rows = bin_of == number
        found.append(
            {
                "confidence": float(confidences[rows].mean(dtype=np.float64)),
                "accuracy": float(correct[rows].mean()),
                "images": int(rows.sum()),
            }
        )
    return found
