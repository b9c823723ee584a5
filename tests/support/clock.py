"""A clock that stands still until it is moved."""

from __future__ import annotations


class FakeClock:
    """Called, it tells `now`, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
