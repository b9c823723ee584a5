"""What all ways of answering share: the loaded network, how its logits become answers, and what is counted."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgemate.bundle import Bundle
from edgemate.bundle.manifest import Layout
from edgemate.errors import BackendError, BundleError, ClosedError, UsageError
from edgemate.runtime.backends.base import Backend
from edgemate.runtime.counting import Counts

FAILURES = (BackendError, BundleError)
"""What a segment that fails raises."""


@dataclass(eq=False)
class Network:
    """A bundle on a backend.

    Attributes:
        bundle: the bundle.
        backend: the backend, with the graphs of `layout` loaded.
        layout: which graphs.
        degrades: whether an earlier exit answers where a later one fails.
        temperatures: what the logits of each exit are divided by for probabilities, `(K,)`; None where they are not.
        counts: of all answers.
        closed: whether the backend was closed.
    """

    bundle: Bundle
    backend: Backend
    layout: Layout
    degrades: bool
    temperatures: tuple[float, ...] | None
    counts: Counts = field(init=False)
    closed: bool = False

    def __post_init__(self) -> None:
        self.counts = Counts(self.exits)

    @property
    def exits(self) -> int:
        """K."""
        return len(self.bundle.manifest.exits)

    def need_open(self) -> None:
        """ClosedError after the end."""
        if self.closed:
            raise ClosedError(f"{self.bundle.path}: the classifier was closed; load the bundle again")

    def need_segments(self, what: str) -> None:
        """UsageError for another layout than `segments`; `what` is what needs them."""
        if self.layout != "segments":
            raise UsageError(f"{what}: needs layout 'segments'; this bundle was loaded with {self.layout!r}")
