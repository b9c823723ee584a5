"""Whether decoding a live stream falls behind, so that frames must be skipped before they are decoded."""

from __future__ import annotations

MOST_SECONDS = 0.5
"""How far a stream may lag before packets are dropped."""
_ANOTHER_CLOCK = 10.0
# Two crystals differ by less than this fraction, so such a growth is no lag.
_DRIFT = 2e-4


class FallingBehind:
    """Compares the clock of a stream with ours.

    A stream cannot be faster than time, so the packet that came soonest after its time shows how the clocks differ;
    others came later by what waits in between. Beyond `MOST_SECONDS` packets are dropped up to a frame that needs no
    earlier one, where less than half of that is left.
    """

    def __init__(self) -> None:
        self._offset: float | None = None
        self._last = 0.0
        self._skipping = False

    def skips(self, now: float, stamp: float, *, keyframe: bool) -> bool:
        """Whether the packet that comes at `now`, with its own time `stamp`, both in seconds, is to be dropped."""
        offset = now - stamp
        if self._offset is not None:
            self._offset += max(now - self._last, 0.0) * _DRIFT
        self._last = now
        if self._offset is None or offset < self._offset or offset > self._offset + _ANOTHER_CLOCK:
            self._offset = offset  # the last: a camera that was restarted, or the machine slept
        behind = offset - self._offset
        if self._skipping:
            self._skipping = not (keyframe and behind <= MOST_SECONDS / 2)
        else:
            self._skipping = behind > MOST_SECONDS
        return self._skipping
