"""Stop when the next segment would end too late."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.errors import UsageError
from edgemate.policies.policy import Decider, Mask, Policy, single_of
from edgemate.policies.serialization import policy_from_json
from edgemate.policies.single import Row, Single, SingleDecider
from edgemate.wording import needing


class Deadline(Policy):
    """Stop when the time elapsed plus that of the next segment is more than `ms`, or when `inner` stops.

    Exit 1 always predicts, however short the deadline is. Where its logits are not finite, the first later exit whose
    logits are finite predicts, late. The clock starts with the first segment: reading and preparing images is not
    included.

    Args:
        ms: milliseconds for a batch.
        segment_ms: the worst-case time of each of the K segments, in milliseconds. Without it the runtime fills in
            what it measured on this machine.
        inner: a policy that may stop earlier.

    Raises:
        UsageError: a time out of range, or a deadline within a deadline.
    """

    name = "deadline"

    def __init__(self, ms: float, *, segment_ms: Sequence[float] | None = None, inner: Policy | None = None) -> None:
        if not 0 < ms < math.inf:
            raise UsageError(f"deadline: must be above 0 ms and finite, not {ms}")
        for value in segment_ms or ():
            if not 0 <= value < math.inf:
                raise UsageError(f"deadline: segment_ms must be 0 or more and finite, not {value}")
        if inner is not None and inner.deadline_ms is not None:
            raise UsageError("deadline: the inner policy has a deadline too; give the shorter one alone")
        self.ms = ms
        self.segment_ms = None if segment_ms is None else tuple(segment_ms)
        self.inner = inner

    def parameters(self) -> dict[str, Any]:
        """`ms`, `segment_ms` and `inner`, a name with parameters."""
        inner = None if self.inner is None else {"policy": self.inner.name, "parameters": self.inner.parameters()}
        segment_ms = None if self.segment_ms is None else list(self.segment_ms)
        return {"ms": self.ms, "segment_ms": segment_ms, "inner": inner}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Deadline:
        """The deadline, and its inner policy by its registered name."""
        given = dict(parameters)
        inner = given.pop("inner", None)
        return cls(**given, inner=None if inner is None else policy_from_json(**_renamed(inner)))

    @property
    def description(self) -> str:
        """`deadline 5 ms`, with the inner policy where there is one."""
        own = f"deadline {self.ms:g} ms"
        return own if self.inner is None else f"{own}, {self.inner.description}"

    @property
    def deadline_ms(self) -> float:
        """Milliseconds for a batch."""
        return self.ms

    @property
    def needs_segment_ms(self) -> bool:
        """Whether it was made without segment times."""
        return self.segment_ms is None

    def with_segment_ms(self, segment_ms: Sequence[float]) -> Deadline:
        """The same deadline with these segment times, `(K,)`, in milliseconds."""
        return Deadline(self.ms, segment_ms=segment_ms, inner=self.inner)

    def with_temperatures(self, temperatures: Sequence[float]) -> Deadline:
        """The same deadline, its inner policy on scaled logits."""
        if self.inner is None:
            return self
        return Deadline(self.ms, segment_ms=self.segment_ms, inner=self.inner.with_temperatures(temperatures))

    def fits(self, exit: int, elapsed_ms: float) -> bool:
        """Whether segment `exit`, counted from 1, would end in time if it were started after `elapsed_ms`."""
        return self.segment_ms is not None and elapsed_ms + self.segment_ms[exit - 1] <= self.ms

    def check(self, exits: int) -> None:
        """UsageError when there is not one segment time per exit, or the inner policy does not fit."""
        if self.segment_ms is not None and len(self.segment_ms) != exits:
            raise UsageError(f"deadline: {len(self.segment_ms)} segment times given; {needing(exits, 'exit')} {exits}")
        if self.inner is not None:
            self.inner.check(exits)

    def begin(self, images: int, exits: int) -> Decider:
        """A decider; UsageError when there is not one segment time per exit."""
        if self.segment_ms is None:
            raise UsageError("deadline: needs segment_ms, the time of each segment on the machine it runs on")
        self.check(exits)
        inner = None if self.inner is None else self.inner.begin(images, exits)
        return _DeadlineDecider(self.ms, self.segment_ms, inner)

    def single(self, exits: int) -> Single:
        """A decider with that of the inner policy; UsageError when there is not one segment time per exit."""
        if self.segment_ms is None:
            return super().single(exits)  # which raises
        self.check(exits)
        ms, segment_ms = self.ms, self.segment_ms
        inner = None if self.inner is None else single_of(self.inner, exits)
        return lambda: _SingleDeadline(ms, segment_ms, None if inner is None else inner())


class _DeadlineDecider(Decider):
    def __init__(self, ms: float, segment_ms: tuple[float, ...], inner: Decider | None) -> None:
        self._ms = ms
        self._segment_ms = segment_ms
        self._inner = inner
        self._over = False

    def decide(self, exit: int, logits: npt.NDArray[Any], elapsed_ms: float) -> Mask:
        if self._over or elapsed_ms + self._segment_ms[exit] > self._ms:
            # What continues has no prediction yet and stops as soon as it has; the inner policy has not seen all exits.
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


class _SingleDeadline(SingleDecider):
    __slots__ = ("_inner", "_ms", "_over", "_segment_ms")

    def __init__(self, ms: float, segment_ms: tuple[float, ...], inner: SingleDecider | None) -> None:
        self._ms = ms
        self._segment_ms = segment_ms
        self._inner = inner
        self._over = False

    def stop(self, exit: int, row: Row, elapsed_ms: float) -> bool | np.bool_:
        if self._over or elapsed_ms + self._segment_ms[exit] > self._ms:
            return True
        return self._inner is not None and self._inner.stop(exit, row, elapsed_ms)

    def disregard(self, exit: int, row: Row, elapsed_ms: float) -> None:
        if self._over or elapsed_ms + self._segment_ms[exit] > self._ms:
            self._over = True  # as in a batch: it stops as soon as there is a prediction
        elif self._inner is not None:
            self._inner.disregard(exit, row, elapsed_ms)


def _renamed(inner: Any) -> dict[str, Any]:
    if not isinstance(inner, dict) or set(inner) != {"policy", "parameters"}:
        raise ValueError("inner must have the keys 'policy' and 'parameters'")
    return {"name": inner["policy"], "parameters": inner["parameters"]}
