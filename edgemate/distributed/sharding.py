"""Which images of a batch, or of a split, a process takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Place:
    """Positions `start` to `stop` − 1 of a sequence of `total` items."""

    start: int
    stop: int
    total: int

    @property
    def slice(self) -> slice:
        """The same, to index with."""
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class Sharding:
    """One process among several, each of which takes consecutive images of every batch, in micro-batches.

    Attributes:
        rank: of this process, from 0.
        ranks: number of processes.
        accumulate: micro-batches of a process per step, whose gradients are accumulated.
        in_turns: of a split, a process takes every ranks-th batch, not consecutive images.
    """

    rank: int = 0
    ranks: int = 1
    accumulate: int = 1
    in_turns: bool = False

    @property
    def parts(self) -> int:
        """Micro-batches of a batch, over all processes."""
        return self.ranks * self.accumulate

    def micro_batches(self, n: int) -> list[Place]:
        """This process's micro-batches of `n` images. Over all processes their sizes differ by at most one."""
        return [self.turn(n, number)[self.rank] for number in range(self.accumulate)]

    def turn(self, n: int, number: int) -> list[Place]:
        """The micro-batches of `n` images that all processes take at the same time, by rank; turns count from 0."""
        first, parts = number * self.ranks, self.parts
        return [Place(k * n // parts, (k + 1) * n // parts, n) for k in range(first, first + self.ranks)]

    def of_split(self, n: int) -> Place:
        """This process's images of a split of `n`, each of which belongs to exactly one process."""
        return Place(self.rank * n // self.ranks, (self.rank + 1) * n // self.ranks, n)

    def evaluated(self, indices: Indices, batch_size: int) -> Indices:
        """Which of the images of a split, int64 (n,), this process evaluates in batches of that size."""
        if not self.in_turns:
            return indices[self.of_split(len(indices)).slice]
        import numpy as np  # which `edgemate --help` does not wait for

        chosen: Indices = indices[np.arange(len(indices)) // batch_size % self.ranks == self.rank]
        return chosen


ONE_PROCESS = Sharding()
"""All images, in one micro-batch."""
