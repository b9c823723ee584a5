"""Temporal early exit: a frame like the last one that was computed keeps its answer.

The first segment runs for every frame, and its features are compared with those of the last frame that was computed in
full. Where they are alike, the rest of the network is skipped. They are compared with the last frame that was computed,
not with the last frame, so that a slow change adds up until it is seen.

This is our own design. The difference is the mean absolute difference of the features, in units of their mean absolute
value: unlike a cosine it grows in proportion to a change, and sees one of brightness.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.errors import UsageError
from edgemate.policies import Policy
from edgemate.runtime import AnytimeClassifier, Prediction
from edgemate.runtime.backends.base import Array, Backend, ForwardPass
from edgemate.runtime.preprocessing import ImageInput

Features = dict[str, npt.NDArray[Any]]


class Still:
    """Classifies frames, and lets those keep the last answer that are like the frame that got it.

    Args:
        loaded: with layout `segments`; it is closed by `classifier`, the one to use from now on.
        threshold: frames are alike up to this difference of their features, 0 or more.

    Raises:
        UsageError: the network has one exit only, so there is nothing to skip, or the threshold is not a number.
    """

    def __init__(self, loaded: AnytimeClassifier, threshold: float) -> None:
        if not (threshold >= 0 and math.isfinite(threshold)):
            raise UsageError(f"still: must be 0 or more, not {threshold}")
        if len(loaded.exits) < 2:
            raise UsageError("still: skips what follows the first segment, and this network has one exit only")
        self._backend = _Watched(loaded.backend, threshold)
        self.classifier = AnytimeClassifier(
            loaded.bundle, self._backend, layout=loaded.layout, on_failure=loaded.on_failure
        )
        self._answer: Prediction | None = None

    def classify(self, image: ImageInput, policy: Policy | str | None) -> tuple[Prediction, bool]:
        """The answer, and whether it is the last one's. Its milliseconds are this frame's own in either case."""
        self._backend.watching = True
        try:
            [answer] = self.classifier.classify(image, policy)
        except _LikeTheLast as found:
            assert self._answer is not None
            return replace(self._answer, milliseconds=found.milliseconds), True
        finally:
            self._backend.watching = False
        if answer.index is None or answer.degraded:
            self.forget()  # the next frame may get a better answer
        else:
            self._answer, self._backend.reference = answer, self._backend.latest
        return answer, False

    def forget(self) -> None:
        """Let no later frame keep the last answer."""
        self._answer = self._backend.reference = None


def difference(features: Features, reference: Features) -> float:
    """The mean absolute difference of all features, in units of the mean absolute value of the reference's."""
    total = scale = 0.0
    for name, array in reference.items():
        before, now = (one.astype(np.float32, copy=False) for one in (array, features[name]))  # int8 would overflow
        total += float(np.abs(now - before).sum(dtype=np.float64))
        scale += float(np.abs(before).sum(dtype=np.float64))
    if scale == 0:
        return 0.0 if total == 0 else float("inf")
    return total / scale


class _LikeTheLast(Exception):  # noqa: N818  # nothing is wrong: it ends a pass from within
    def __init__(self, milliseconds: float) -> None:
        super().__init__()
        self.milliseconds = milliseconds


class _Watched(Backend):
    """Hands everything on to `inner`; while `watching`, a pass whose features are like the reference's ends there."""

    def __init__(self, inner: Backend, threshold: float) -> None:
        self.inner = inner
        self.threshold = threshold
        self.watching = False
        self.reference: Features | None = None
        self.latest: Features | None = None

    @property
    def largest_batch(self) -> int | None:
        return self.inner.largest_batch

    def begin(self, images: Array) -> ForwardPass:
        flow = self.inner.begin(images)
        return _WatchedPass(self, flow) if self.watching else flow

    def run_prefix(self, exit: int, images: Array) -> Array:
        return self.inner.run_prefix(exit, images)

    def run_conditional(self, image: Array, thresholds: Array) -> tuple[Array, int]:
        return self.inner.run_conditional(image, thresholds)

    def metadata(self) -> dict[str, str]:
        return self.inner.metadata()

    def close(self) -> None:
        self.reference = self.latest = None
        self.inner.close()


class _WatchedPass(ForwardPass):
    def __init__(self, backend: _Watched, flow: ForwardPass) -> None:
        self._backend = backend
        self._flow = flow
        self._first = True
        self._started = time.perf_counter()

    def advance(self) -> Array:
        logits = self._flow.advance()
        if self._first:
            self._first = False
            self._compare()
        return logits

    def keep(self, kept: npt.NDArray[np.intp]) -> None:
        self._flow.keep(kept)

    def _compare(self) -> None:
        backend = self._backend
        backend.latest = self._flow.features()
        reference = backend.reference
        if reference is not None and difference(backend.latest, reference) <= backend.threshold:
            raise _LikeTheLast(1e3 * (time.perf_counter() - self._started))
