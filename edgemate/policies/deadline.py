"""Stop when the next segment would come too late."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.errors import UsageError
from edgemate.policies.policy import Decider, Mask, Policy
from edgemate.wording import counted


class Deadline(Policy):
    """Stop when the time gone plus the next segment's is more than `ms`, or when `inner` says so.

    Exit 1 always answers, be the deadline as short as it may; where a logit is no number that is no answer, and the
    first exit after it that has one answers late. The clock starts when the first segment does: reading and preparing
    images is not in it.

    Args:
        ms: milliseconds for a batch.
        segment_ms: what each of the K segments takes at worst, in milliseconds. Without it the runtime fills in what it
            measured on this machine.
        inner: a policy that may stop earlier.

    Raises:
        UsageError: a time out of range, or a deadline within a deadline.
    """

    def __init__(self, ms: float, *, segment_ms: Sequence[float] | None = None, inner: Policy | None = None) -> None:
        if not 0 < ms < math.inf:
            raise UsageError(f"deadline: must be above 0 ms and finite, not {ms}")
        for value in segment_ms or ():
            if not 0 <= value < math.inf:
                raise UsageError(f"deadline: segment_ms must be 0 or more and finite, not {value}")
        if isinstance(inner, Deadline):
            raise UsageError("deadline: one within another is never the one that counts; give the shorter alone")
        self.ms = ms
        self.segment_ms = None if segment_ms is None else tuple(segment_ms)
        self.inner = inner

    def with_segment_ms(self, segment_ms: Sequence[float]) -> Deadline:
        """The same deadline with this table of segment times."""
        return Deadline(self.ms, segment_ms=segment_ms, inner=self.inner)

    def fits(self, exit: int, elapsed_ms: float) -> bool:
        """Whether segment `exit`, 1-based, would end in time if it were started after `elapsed_ms`."""
        return self.segment_ms is not None and elapsed_ms + self.segment_ms[exit - 1] <= self.ms

    def begin(self, images: int, exits: int) -> Decider:
        """A decider; UsageError when there is not one segment time per exit."""
        if self.segment_ms is None:
            raise UsageError("deadline: needs segment_ms, what each segment takes on the machine it runs on")
        if len(self.segment_ms) != exits:
            raise UsageError(
                f"deadline: {len(self.segment_ms)} segment times given; {counted(exits, 'exit')} need {exits}"
            )
        inner = None if self.inner is None else self.inner.begin(images, exits)
        return _DeadlineDecider(self.ms, self.segment_ms, inner)


class _DeadlineDecider(Decider):
    def __init__(self, ms: float, segment_ms: tuple[float, ...], inner: Decider | None) -> None:
        self._ms = ms
        self._segment_ms = segment_ms
        self._inner = inner
        self._over = False

    def decide(self, exit: int, logits: npt.NDArray[Any], elapsed_ms: float) -> Mask:
        if self._over or elapsed_ms + self._segment_ms[exit] > self._ms:
            # What goes on has no answer yet and stops as soon as it has; the policy within has not seen all exits.
            self._over, self._inner = True, None
            return np.ones(len(logits), dtype=np.bool_)
        if self._inner is None:
            return np.zeros(len(logits), dtype=np.bool_)
        return self._inner.decide(exit, logits, elapsed_ms)

    def disregard(self, rows: Mask) -> None:
        if self._inner is not None:
            self._inner.disregard(rows)

    def keep(self, kept: npt.NDArray[np.intp]) -> None:
        if self._inner is not None:
            self._inner.keep(kept)
