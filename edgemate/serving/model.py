"""The bundle that is served: which policies requests may choose, and the network's runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from edgemate.bundle import Bundle
from edgemate.calibration import OperatingPoint, read_operating_points
from edgemate.calibration.operating_points import POLICIES_FILE
from edgemate.errors import UsageError
from edgemate.policies import Deadline, FixedExit, Policy
from edgemate.runtime import AnytimeClassifier, Prediction, Preprocessor
from edgemate.serving.options import ServeOptions
from edgemate.serving.refusal import bad
from edgemate.serving.tensors import Array
from edgemate.wording import shortened

_SHORTEST_MS = 1e-3
"""What is left of a deadline that has passed: exit 1 answers all the same."""


class Choice(NamedTuple):
    """How images are answered; those of equal choices share batches.

    Attributes:
        policy: name of an operating point; None for the whole network.
        timed: whether there is a deadline.
    """

    policy: str | None
    timed: bool


class ServedModel:
    """A classifier behind a server. `run` is for one thread at a time, `prepare` for any.

    Args:
        classifier: stays the caller's to close.
        options: of the server.

    Raises:
        BundleError: an operating point is named and the bundle has none.
        UsageError: there is no such operating point.
    """

    def __init__(self, classifier: AnytimeClassifier, options: ServeOptions) -> None:
        self.classifier = classifier
        self.name = classifier.bundle.manifest.name
        largest = classifier.backend.largest_batch
        self.max_batch = options.max_batch if largest is None else min(options.max_batch, largest)
        self._preprocessor = Preprocessor(classifier.input)
        self._default = options.policy
        self._longest_ms = options.deadline_ms
        self.points = offered_points(classifier.bundle, options)
        self._policies: dict[str | None, Policy] = {name: point.as_policy() for name, point in self.points.items()}
        self._policies[None] = FixedExit(len(classifier.exits))
        self._segment_ms: dict[int, tuple[float, ...]] = {}

    def warm_up(self) -> None:
        """Run every batch size that is a power of two; with a deadline, time the segments at these."""
        sizes = [1]
        while sizes[-1] < self.max_batch:
            sizes.append(min(2 * sizes[-1], self.max_batch))
        for size in sizes:
            contract = self.classifier.input
            self.classifier.classify(np.zeros(contract.shape(size), contract.dtype), batch_size=size)
            if self._longest_ms is not None:
                self._segment_ms[size] = self._times(size)
        self.classifier.reset_statistics()

    def _times(self, size: int) -> tuple[float, ...]:
        table = self.classifier.latency_table() if size == 1 else None
        return self.classifier.measure_segments(batch=size, repeats=30) if table is None else table.segment_ms

    def choose(self, policy: str | None, deadline_ms: float | None) -> tuple[Choice, float | None]:
        """What a request chooses, and its deadline in milliseconds.

        Raises:
            RefusedError: it may not choose that; status 400.
        """
        if policy is not None and policy not in self.points:
            known = ", ".join(self.points) or "none may be chosen here"
            raise bad(f"unknown operating point {shortened(repr(policy))}; known: {shortened(known)}")
        if deadline_ms is not None and self._longest_ms is None:
            raise bad("deadline_ms: this server was started without --deadline-ms, so no request may have one")
        if deadline_ms is not None and self._longest_ms is not None and deadline_ms > self._longest_ms:
            raise bad(f"deadline_ms: may be at most {self._longest_ms:g}, the server's own, not {deadline_ms:g}")
        due = self._longest_ms if deadline_ms is None else deadline_ms
        return Choice(self._default if policy is None else policy, due is not None), due

    def prepare(self, pixels: Array) -> Array:
        """UINT8 `(N, H, W, C)` → the network's input; ImageError where it cannot be."""
        return np.stack([self._preprocessor.prepare(image) for image in pixels])

    def run(self, images: Array, choice: Choice, due: Sequence[float | None]) -> list[Prediction]:
        """Predictions of a batch, which is over when the first of its deadlines is.

        Args:
            images: ready, as the network takes them.
            choice: of all of them.
            due: when each request is due, as `time.perf_counter()` tells it.

        Raises:
            BackendError, BundleError: the network fails.
        """
        policy = self._policies[choice.policy]
        if choice.timed:
            left = 1000 * (min(one for one in due if one is not None) - time.perf_counter())
            inner = None if choice.policy is None else policy
            policy = Deadline(max(left, _SHORTEST_MS), segment_ms=self._segment_ms_of(len(images)), inner=inner)
        return self.classifier.classify(images, policy, batch_size=len(images))

    def reach(self, choice: Choice, due: float | None, images: int) -> int:
        """How many segments can end before a request is due, in a batch of so many images; at least 1."""
        if not choice.timed or due is None:
            return len(self.classifier.exits)
        left = 1000 * (due - time.perf_counter())
        return max(1, sum(end <= left for end in accumulate(self._segment_ms_of(images))))

    def _segment_ms_of(self, images: int) -> tuple[float, ...]:
        return self._segment_ms[min(size for size in self._segment_ms if size >= images)]


def offered_points(bundle: Bundle, options: ServeOptions) -> dict[str, OperatingPoint]:
    """The operating points that requests may choose and that of those which choose none, by name.

    A point with a deadline of its own is none of them: a server has one deadline.

    Raises:
        BundleError: one is named and the bundle has none.
        UsageError: there is no such operating point, or it has a deadline of its own.
    """
    asked = [*(options.policies or ()), *(() if options.policy is None else (options.policy,))]
    if not bundle.has(POLICIES_FILE) and not asked:
        return {}
    points = read_operating_points(bundle)
    found = {name: points.get(name) for name in asked}
    for name, point in found.items():
        if point.as_policy().deadline_ms is not None:
            raise UsageError(f"policy {name!r}: has a deadline of its own; choose another, and give deadline_ms")
    if options.policies is None:
        found |= {point.name: point for point in points.points if point.as_policy().deadline_ms is None}
    return found
