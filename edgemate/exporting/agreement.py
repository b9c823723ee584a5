"""Limits on the difference between a graph and the network, and the measured difference."""

from __future__ import annotations

from dataclasses import dataclass

from edgemate.bundle.manifest import Precision


@dataclass(frozen=True)
class Limits:
    """Limits on the difference between a graph and the network.

    Attributes:
        difference: largest absolute difference of any logit, in units of the exit's largest absolute logit (of 1 where
            that is smaller). Float32 on two runtimes differs by about 1e-6; 1e-3 moves a probability by less than
            0.1 points at logits of the usual size.
        agreement: least fraction of images with the same top-1 class; the rest allows for ties.
        accuracy_loss: largest loss of top-1 accuracy, as a fraction.

    The last two are exceeded only by more than the standard error on n images: √m / n, where m images get another
    class, or are right for one of the two only.
    """

    difference: float = 1e-3
    agreement: float = 0.99
    accuracy_loss: float = 0.001

    @classmethod
    def of(cls, precision: Precision, tolerance: float | None = None) -> Limits:
        """The limits of a precision. A tolerance replaces the difference, and scales the others by the same factor."""
        default = _DEFAULTS[precision]
        if tolerance is None:
            return default
        factor = tolerance / default.difference
        return cls(tolerance, max(0.0, 1 - (1 - default.agreement) * factor), default.accuracy_loss * factor)


_DEFAULTS: dict[Precision, Limits] = {
    "fp32": Limits(),
    "fp16": Limits(difference=0.02, agreement=0.99, accuracy_loss=0.005),
    "int8": Limits(difference=0.25, agreement=0.95, accuracy_loss=0.01),
    "int8+fp16": Limits(difference=0.25, agreement=0.95, accuracy_loss=0.01),
}


@dataclass(frozen=True)
class Agreement:
    """Agreement of one exit's graph with the network.

    Attributes:
        exit: k, 1-based.
        largest_difference: largest absolute difference of any logit.
        limit: limit on that difference.
        agreement: fraction of images with the same top-1 class.
        accuracy_change: change of top-1 accuracy, as a fraction, negative for a loss; None without labels.
        images: number of images compared.
    """

    exit: int
    largest_difference: float
    limit: float
    agreement: float
    accuracy_change: float | None
    images: int
