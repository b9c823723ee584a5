"""How far a graph may be from the network, and how far it was found to be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How far a graph may be from the network.

    Attributes:
        difference: largest absolute difference of any logit, in units of the exit's largest absolute logit (of 1 where
            that is smaller). Float32 on two runtimes differs by about 1e-6; 1e-3 moves a probability by less than
            0.1 points at logits of the usual size.
        agreement: least share of pictures for which both name the same class; the rest is left to ties.
    """

    difference: float = 1e-3
    agreement: float = 0.99


@dataclass(frozen=True)
class Agreement:
    """How one exit's graph agrees with the network.

    Attributes:
        exit: k, 1-based.
        largest_difference: of any logit, absolute.
        limit: of that difference.
        agreement: share of pictures for which both name the same class.
        pictures: on so many.
    """

    exit: int
    largest_difference: float
    limit: float
    agreement: float
    pictures: int
