"""A backend that records which segments ran, and on how many images."""

from __future__ import annotations

import numpy as np

from edgemate.runtime.backends.base import Backend, ForwardPass, SinglePass


class CountingBackend(Backend):
    """Hands everything on to `inner`. `calls` lists `(exit, images)` for each segment that ran."""

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        self.calls: list[tuple[int, int]] = []

    @property
    def largest_batch(self) -> int | None:
        return self.inner.largest_batch

    def begin(self, images: np.ndarray) -> ForwardPass:
        return _CountingPass(self.inner.begin(images), self.calls)

    def begin_one(self, image: np.ndarray) -> SinglePass:
        return _CountingSinglePass(self.inner.begin_one(image), self.calls)

    def run_prefix(self, exit: int, images: np.ndarray) -> np.ndarray:
        return self.inner.run_prefix(exit, images)

    def run_conditional(self, image: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, int]:
        return self.inner.run_conditional(image, thresholds)

    def metadata(self) -> dict[str, str]:
        return self.inner.metadata()

    def close(self) -> None:
        self.inner.close()


class _CountingPass(ForwardPass):
    def __init__(self, inner: ForwardPass, calls: list[tuple[int, int]]) -> None:
        self._inner = inner
        self._calls = calls
        self._exit = 0

    def advance(self) -> np.ndarray:
        self._exit += 1
        logits = self._inner.advance()
        self._calls.append((self._exit, len(logits)))
        return logits

    def keep(self, kept: np.ndarray) -> None:
        self._inner.keep(kept)


class _CountingSinglePass(SinglePass):
    def __init__(self, inner: SinglePass, calls: list[tuple[int, int]]) -> None:
        self._inner = inner
        self._calls = calls
        self._exit = 0

    def advance(self) -> np.ndarray:
        self._exit += 1
        row = self._inner.advance()
        self._calls.append((self._exit, 1))
        return row

    def end(self) -> None:
        self._inner.end()
