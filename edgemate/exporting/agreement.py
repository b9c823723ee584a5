"""How far a graph may be from the network, and how far it was found to be."""

from __future__ import annotations

from dataclasses import dataclass

from edgemate.bundle.manifest import Precision


@dataclass(frozen=True)
class Limits:
    """How far a graph may be from the network.

    Attributes:
        difference: largest absolute difference of any logit, in units of the exit's largest absolute logit (of 1 where
            that is smaller). Float32 on two runtimes differs by about 1e-6; 1e-3 moves a probability by less than
            0.1 points at logits of the usual size.
        agreement: least share of images for which both name the same class; the rest is left to ties.
        accuracy_loss: largest loss of top-1 accuracy, a share.

    The last two count as broken once they are so by more than the standard error that n images leave: √m / n, where m
    images are given another class, or are right for one of the two only.
    """

    difference: float = 1e-3
    agreement: float = 0.99
    accuracy_loss: float = 0.001

    @classmethod
    def of(cls, precision: Precision, tolerance: float | None = None) -> Limits:
        """The limits of a precision. A tolerance replaces the difference, and moves the others by the same factor."""
        usual = _USUAL[precision]
        if tolerance is None:
            return usual
        factor = tolerance / usual.difference
        return cls(tolerance, max(0.0, 1 - (1 - usual.agreement) * factor), usual.accuracy_loss * factor)


_USUAL: dict[Precision, Limits] = {
    "fp32": Limits(),
    "fp16": Limits(difference=0.02, agreement=0.99, accuracy_loss=0.005),
    "int8": Limits(difference=0.25, agreement=0.95, accuracy_loss=0.01),
    "int8+fp16": Limits(difference=0.25, agreement=0.95, accuracy_loss=0.01),
}


@dataclass(frozen=True)
class Agreement:
    """How one exit's graph agrees with the network.

    Attributes:
        exit: k, 1-based.
        largest_difference: of any logit, absolute.
        limit: of that difference.
        agreement: share of images for which both name the same class.
        accuracy_change: of top-1 accuracy, a share, negative for a loss; None where the labels were not given.
        images: on so many.
    """

    exit: int
    largest_difference: float
    limit: float
    agreement: float
    accuracy_change: float | None
    images: int
