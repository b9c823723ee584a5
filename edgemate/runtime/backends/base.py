"""What the classifier asks of an inference library.

Features between two segments stay inside a `ForwardPass`: a backend may keep them on its own device, and compaction
happens there too. Only images go in and logits come out as numpy arrays.

One image at a time has ways of its own. A backend need not offer them: `begin_one` is a batch of one by default, and
`answering` says that the host decides.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgemate.bundle import Bundle
from edgemate.bundle.manifest import Layout
from edgemate.errors import BackendError
from edgemate.policies.single import StopRule

Array = npt.NDArray[Any]


class Answered(NamedTuple):
    """What became of one image that a backend decided about by itself.

    Attributes:
        logits: of the exit taken, float32 `(C,)`; they stay what they are.
        exit: counted from 1.
        passed_on: at how many exits before it a logit was NaN or infinite, which stops nothing.
    """

    logits: Array
    exit: int
    passed_on: int


Answering = Callable[[Array], Answered]
"""Answers one image, float32 `(1, channels, height, width)`, not always contiguous.

Several threads may call it at the same time.
"""


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

    def begin_one(self, image: Array) -> SinglePass:
        """Start a pass of one float32 image `(1, channels, height, width)`, not always contiguous; no segment runs yet.

        The caller ends it.
        """
        return _PassOfOne(self.begin(image))

    def answering(self, rule: StopRule) -> Answering | None:
        """What answers an image by `rule` without the host between two segments; None where the host is to decide.

        It is asked once per policy, not once per image. Where an answer fails, or the logits of the last exit are not
        finite, the classifier may answer the image again with `begin_one`.
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

    def features(self) -> dict[str, Array]:
        """What the last segment handed on to the next, by name: `(n, …)` each, not to be changed. Empty after the last.

        Raises:
            BackendError: this backend does not give them.
        """
        raise BackendError(f"{type(self).__name__} does not give the features between segments")


class SinglePass(ABC):
    """One image on its way through the segments."""

    __slots__ = ()

    @abstractmethod
    def advance(self) -> Array:
        """Run the next segment: its exit's logits, float32 `(C,)`, which are there until the pass is ended.

        Raises:
            BackendError, BundleError: as `ForwardPass.advance`.
        """

    def end(self) -> None:  # noqa: B027
        """Give back what the pass holds. Every pass must be ended, whatever became of it; it is not used after that."""


class _PassOfOne(SinglePass):
    __slots__ = ("_flow",)

    def __init__(self, flow: ForwardPass) -> None:
        self._flow = flow

    def advance(self) -> Array:
        row: Array = self._flow.advance()[0]
        return row
