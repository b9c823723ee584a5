"""What a batch is answered with where a later segment fails: the deepest exit so far with finite logits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.policies import scores

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.intp]


class Fallback:
    """The last finite logits of every image of a batch; `images` is their number."""

    def __init__(self, images: int) -> None:
        self._exits = np.zeros(images, dtype=np.intp)  # 0: none yet
        self._logits: Array | None = None

    def add(self, exit: int, rows: Rows, logits: Array) -> None:
        """Take the logits of an exit, float32 `(n, C)`, of the images in these rows of the batch, `(n,)`."""
        finite = scores.finite(logits)
        if self._logits is None:
            self._logits = np.zeros((len(self._exits), logits.shape[1]), dtype=logits.dtype)
        known = rows[finite]
        self._exits[known] = exit
        self._logits[known] = logits[finite]

    def covers(self, rows: Rows) -> bool:
        """Whether every one of these images has finite logits of some exit."""
        return bool(self._exits[rows].all())

    def answers(self, rows: Rows) -> Iterator[tuple[int, Rows, Array]]:
        """Exit, rows and logits `(n, C)` of these images, by exit; those without any finite logits are left out."""
        exits = self._exits[rows]
        for exit in sorted(set(exits.tolist()) - {0}):
            assert self._logits is not None
            chosen = rows[exits == exit]
            yield exit, chosen, self._logits[chosen]
