"""`compare --rates`: every method is trained at the same learning rates, in place of a search over all its options."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgemate.comparison.settings import RATE, Setting
from edgemate.errors import UsageError


def check_rates(rates: Sequence[float]) -> None:
    """Raise UsageError unless these are two different learning rates or more, all positive and finite."""
    if len(rates) < 2 or len(set(rates)) < len(rates) or not all(0 < rate < math.inf for rate in rates):
        given = ",".join(f"{rate:g}" for rate in rates)
        raise UsageError(f"rates '{given}': must be different, positive, and two at least, such as 0.002,0.004,0.008")


class RateGrid:
    """Proposes each learning rate once, in the order given; the interface is that of `Search`."""

    def __init__(self, rates: Sequence[float]) -> None:
        self._settings: list[Setting] = [{RATE: rate} for rate in rates]
        self._asked = 0

    def ask(self, count: int) -> list[Setting]:
        """The next settings."""
        self._asked += count
        return self._settings[self._asked - count : self._asked]

    def tell(self, values: Sequence[float | None]) -> None:
        """A grid does not depend on results."""


def edge(rates: Sequence[float], chosen: float) -> str | None:
    """`highest` or `lowest` if the chosen rate is the last one on a side, where a better one may lie beyond it."""
    if chosen == max(rates):
        return "highest"
    return "lowest" if chosen == min(rates) else None
