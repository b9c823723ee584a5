"""Which images of a batch, or of a split, a process takes."""

from __future__ import annotations

from dataclasses import dataclass


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
    """

    rank: int = 0
    ranks: int = 1
    accumulate: int = 1

    @property
    def parts(self) -> int:
        """Micro-batches of a batch, over all processes."""
        return self.ranks * self.accumulate

    def micro_batches(self, n: int) -> list[Place]:
        """This process's micro-batches of `n` images. Over all processes their sizes differ by at most one."""
        parts = self.parts
        numbers = (turn * self.ranks + self.rank for turn in range(self.accumulate))
        return [Place(k * n // parts, (k + 1) * n // parts, n) for k in numbers]

    def of_split(self, n: int) -> Place:
        """This process's images of a split of `n`, each of which belongs to exactly one process."""
        return Place(self.rank * n // self.ranks, (self.rank + 1) * n // self.ranks, n)


ONE_PROCESS = Sharding()
"""All images, in one micro-batch."""
