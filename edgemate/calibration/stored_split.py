"""The stored logits of every exit on a split, with the cost of stopping at each: what calibration works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.calibration.reductions import Reductions
from edgemate.core.chunks import take_rows
from edgemate.errors import UsageError
from edgemate.wording import needing

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class StoredSplit:
    """The logits of every exit on a split. `dataclasses.replace` keeps what was computed of them.

    Attributes:
        logits: float32 `(N, K, C)`; float16 is computed with in float32. They may be mapped from a file.
        labels: int `(N,)`.
        costs: the cost of stopping at each exit, `(K,)`, rising: chained MACs, or milliseconds.
        temperatures: what the logits of each exit but the last are divided by before they are scored, `(K-1,)`; None
            leaves them as they are.
        reductions: what is computed of the logits and labels, once; never given.

    Raises:
        UsageError: no images, or the shapes do not fit each other.
    """

    logits: Array
    labels: Array
    costs: Sequence[float]
    temperatures: tuple[float, ...] | None = None
    reductions: Reductions = field(default=None, repr=False)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.logits.ndim != 3 or not self.logits.size:
            raise UsageError(f"logits: must be (images, exits, classes) and not empty, not {self.logits.shape}")
        images, exits, _ = self.logits.shape
        if self.labels.shape != (images,) or len(self.costs) != exits:
            raise UsageError(
                f"logits {self.logits.shape} need labels ({images},) and {exits} costs, "
                f"not {self.labels.shape} and {len(self.costs)}"
            )
        if self.temperatures is not None and len(self.temperatures) != exits - 1:
            raise UsageError(
                f"temperatures: {len(self.temperatures)} given; {needing(exits, 'exit')} {exits - 1}, all but the last"
            )
        if self.reductions is None:
            object.__setattr__(self, "reductions", Reductions(self.logits, self.labels))

    @property
    def images(self) -> int:
        """N, the number of images."""
        return len(self.labels)

    @property
    def exits(self) -> int:
        """K, the number of exits."""
        return int(self.logits.shape[1])

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether each exit predicts the right class: bool `(N, K)`."""
        return self.reductions.correct

    @property
    def divisors(self) -> tuple[float, ...]:
        """The temperatures, `(K-1,)`; 1 where there are none."""
        return (1.0,) * (self.exits - 1) if self.temperatures is None else self.temperatures

    def part(self, rows: npt.NDArray[np.intp]) -> StoredSplit:
        """The split of the images at indices `rows` only."""
        return StoredSplit(take_rows(self.logits, rows), self.labels[rows], self.costs, self.temperatures)
