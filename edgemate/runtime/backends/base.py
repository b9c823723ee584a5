"""What the classifier asks of an inference library.

Features between two segments stay inside a `ForwardPass`: a backend may keep them on its own device, and compaction
happens there too. Only images go in and logits come out as numpy arrays.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgemate.bundle import Bundle
from edgemate.bundle.manifest import Layout
from edgemate.policies import Policy

Array = npt.NDArray[Any]


class Decided(NamedTuple):
    """The answer to one image: float32 `(1, C)`, and the exit that gave it, counted from 1.

    `non_finite` counts the exits before it that were passed because a logit was no finite number.
    """

    logits: Array
    exit: int
    non_finite: int


class Backend(ABC):
    """One bundle's graphs, loaded.

    Args:
        bundle: an opened bundle.
        layout: which graphs to load. `segments` serves `begin`, `prefixes` serves `run_prefix`, `conditional` serves
            `run_conditional`.
        threads: CPU threads to use, 1 or more; None leaves it to the backend.

    Raises:
        BackendError: the library is not installed, or cannot run this bundle.
        BundleError: the bundle has no graphs of this layout, or a graph does not take and give what the manifest says.
    """

    @abstractmethod
    def __init__(self, bundle: Bundle, *, layout: Layout, threads: int | None) -> None: ...

    @property
    def largest_batch(self) -> int | None:
        """The most images it takes at a time; None where there is no such limit."""
        return None

    @abstractmethod
    def begin(self, images: Array) -> ForwardPass:
        """Start a forward pass of float32 images `(N, channels, height, width)`; no segment runs yet."""

    def decide(self, image: Array, policy: Policy) -> Decided | None:
        """Run one image, float32 `(1, channels, height, width)`, where the device itself can tell where it stops.

        None where this backend, or this policy, leaves that to the host; `begin` serves then.
        """
        return None

    @abstractmethod
    def run_prefix(self, exit: int, images: Array) -> Array:
        """Run one prefix: float32 images `(N, channels, height, width)` to the exit's logits, float32 `(N, C)`."""

    @abstractmethod
    def run_conditional(self, image: Array, thresholds: Array) -> tuple[Array, int]:
        """Run the conditional graph on one image.

        Args:
            image: float32 `(1, channels, height, width)`.
            thresholds: float32 `(K-1,)`: exit k answers if its largest probability is above the k-th of them.

        Returns:
            The logits, float32 `(1, C)`, and the exit that gave them, counted from 1.
        """

    @abstractmethod
    def metadata(self) -> dict[str, str]:
        """The library, its version and what bears on its speed, for reports."""

    @abstractmethod
    def close(self) -> None:
        """Free what it holds; it is not used after that."""


class ForwardPass(ABC):
    """A batch on its way through the segments."""

    @abstractmethod
    def advance(self) -> Array:
        """Run the next segment on the images that remain: its exit's logits, float32 `(n, C)`.

        Raises:
            BackendError: the segment fails, or there is none left.
            BundleError: what it gives is not what the manifest says.
        """

    @abstractmethod
    def keep(self, kept: npt.NDArray[np.intp]) -> None:
        """Drop every image whose row is not among the indices `kept`, ascending, before the next segment."""
