"""Ranges of options, which `compare --tune` searches. A part declares them beside its options, in their annotations.

def __init__(self, setting, *, alpha: Annotated[float, Field(ge=0), Tune(0.2, 5, log=True)] = 1.0): ...
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Tune:
    """The range of a number.

    Attributes:
        low: smallest value.
        high: largest value. If both are integers, so are the values between them.
        log: equal ratios are equally likely, rather than equal differences.
        relative: `low` and `high` are factors on the recipe's own value.
        root: `low` and `high` are of the value to the power of the number of exits, as where the first exit of K has
            the weight value^K.
    """

    low: float
    high: float
    log: bool = False
    relative: bool = False
    root: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.low <= 0 and (self.log or self.relative)):
            raise ValueError(f"{self}: low must be less than high, and above 0 where the range is log or relative")

    def around(self, value: float | None, exits: int = 1) -> Tune:
        """The range in absolute numbers, widened to include the recipe's own value.

        Args:
            value: the recipe's own; None if it has none, as of an option that another one decides.
            exits: the number of exits, which a `root` range depends on.
        """
        factor = value if self.relative and value is not None else 1
        low, high = self.low * factor, self.high * factor
        if self.root:
            low, high = low ** (1 / exits), high ** (1 / exits)
        if value is not None and (value > 0 or not self.log):
            low, high = min(low, value), max(high, value)
        return Tune(low, high, self.log)

    @property
    def whole(self) -> bool:
        """Whether the values are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


Rate = Annotated[float, Tune(0.2, 5.0, log=True, relative=True)]
"""A learning rate. Its size depends on the optimizer, the batch and the schedule, so it is one around the recipe's."""
