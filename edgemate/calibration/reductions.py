"""What is computed of the logits of a split once, in chunks, and kept: a few bytes for each image and exit.

Solvers and simulations work on these. Logits of a million images and a thousand classes stay in their file.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from edgemate.core.chunks import map_chunks
from edgemate.policies import scores
from edgemate.policies.score_policy import ScorePolicy

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Result = TypeVar("Result")


class Reductions:
    """Answers and scores of every exit on a split, each computed when it is first asked for.

    Args:
        logits: `(N, K, C)`, in memory or mapped from a file.
        labels: int `(N,)`.
    """

    def __init__(self, logits: Array, labels: Array) -> None:
        self._logits = logits
        self._labels = labels
        self._kept: dict[Hashable, Any] = {}

    def once(self, key: Hashable, compute: Callable[[], Result]) -> Result:
        """The result of `compute`, which is called only for a key that is new."""
        if key not in self._kept:
            self._kept[key] = compute()
        found: Result = self._kept[key]
        return found

    @property
    def named(self) -> npt.NDArray[np.int32]:
        """The class that each exit takes each image for: `(N, K)`."""
        return self._answers()[0]

    @property
    def finite(self) -> Mask:
        """Whether all logits of an exit are finite: `(N, K)`."""
        return self._answers()[1]

    @property
    def correct(self) -> Mask:
        """Whether each exit predicts the right class: `(N, K)`."""
        return self.once("correct", lambda: np.asfortranarray(self.named == self._labels[:, None]))

    def scores(self, score_policy: type[ScorePolicy], temperatures: Sequence[float]) -> npt.NDArray[np.float32]:
        """The score that a policy compares with its thresholds: `(N, E)`; NaN where a logit is not finite.

        Args:
            score_policy: the policy.
            temperatures: what the logits of exits 1 to E are divided by, `(E,)`.
        """
        wanted = [(score_policy, exit, float(temperature)) for exit, temperature in enumerate(temperatures)]
        missing = [key for key in wanted if key not in self._kept]
        if missing:
            self._kept.update(zip(missing, self._score_columns(missing), strict=True))
        found = np.empty((len(self._labels), len(wanted)), dtype=np.float32, order="F")
        for exit, key in enumerate(wanted):
            found[:, exit] = self._kept[key]
        return found

    def _score_columns(self, wanted: Sequence[tuple[type[ScorePolicy], int, float]]) -> Array:
        finite = self.finite
        found = np.empty((len(wanted), len(self._labels)), dtype=np.float32)

        def of_chunk(chunk: Array, rows: slice) -> None:
            for row, (policy, exit, temperature) in enumerate(wanted):
                usable = finite[rows, exit]
                logits = chunk[:, exit] if temperature == 1.0 else chunk[:, exit] / np.float32(temperature)
                if usable.all():
                    found[row, rows] = policy.score(logits)
                else:
                    found[row, rows] = np.where(usable, policy.score(np.where(usable[:, None], logits, 0)), np.nan)

        for _ in map_chunks(of_chunk, self._logits):
            pass
        return found

    def _answers(self) -> tuple[npt.NDArray[np.int32], Mask]:
        return self.once("answers", self._compute_answers)

    def _compute_answers(self) -> tuple[npt.NDArray[np.int32], Mask]:
        shape = self._logits.shape[:2]
        named, finite = np.empty(shape, dtype=np.int32), np.empty(shape, dtype=np.bool_)

        def of_chunk(chunk: Array, rows: slice) -> None:
            named[rows] = chunk.argmax(axis=2)
            for exit in range(shape[1]):
                finite[rows, exit] = scores.finite(chunk[:, exit])

        for _ in map_chunks(of_chunk, self._logits):
            pass
        return named, finite
