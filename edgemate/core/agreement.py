"""How far the logits of one exit are from reference logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class LogitAgreement:
    """One exit's logits compared with the reference.

    Attributes:
        largest_difference: largest absolute difference of any logit; NaN or infinite where a logit is.
        limit: of that difference: the tolerance times the largest absolute reference logit, or times 1 where that is
            smaller.
        differing: images for which the top-1 class differs.
        not_finite: images with a logit that is NaN or infinite; the reference's do not count.
        images: images compared.
    """

    largest_difference: float
    limit: float
    differing: int
    not_finite: int
    images: int

    @property
    def agreement(self) -> float:
        """Fraction of images with the same top-1 class, in [0, 1]."""
        return (self.images - self.differing) / self.images


def compare_logits(logits: Array, reference: Array, tolerance: float) -> LogitAgreement:
    """Compare logits (N, C) with a finite reference (N, C), N at least 1.

    Args:
        logits: of one exit, floating point.
        reference: of the same images and exit.
        tolerance: largest allowed difference, relative to the largest absolute reference logit (to 1 where that is
            smaller).

    Raises:
        ValueError: the shapes differ, are not (N, C), or there are no images.
    """
    if logits.shape != reference.shape or logits.ndim != 2 or not logits.size:
        raise ValueError(f"logits (N, C) and a reference (N, C) are needed, not {logits.shape} and {reference.shape}")
    return LogitAgreement(
        largest_difference=float(np.abs(logits - reference).max()),
        limit=tolerance * max(1.0, float(np.abs(reference).max())),
        differing=int((logits.argmax(1) != reference.argmax(1)).sum()),
        not_finite=int((~np.isfinite(logits)).any(1).sum()),
        images=len(logits),
    )
