"""How much longer a training takes."""

from __future__ import annotations

import time

from edgemate.progress import Clock, Pace


class Countdown:
    """Seconds left in the epoch and in the whole training.

    A whole epoch, with calibration and checkpoint, is known after the first; until then only its steps are counted.

    Args:
        epochs: in all.
        steps: of an epoch.
        clock: returns the time in seconds.
    """

    def __init__(self, epochs: int, steps: int, clock: Clock = time.monotonic) -> None:
        self.epochs, self.steps = epochs, steps
        self._clock = clock
        self._epoch = 0
        self._began: float | None = None
        self._whole: float | None = None
        self._pace = Pace(clock=clock)
        self._left_to_do = steps

    def begin(self, epoch: int) -> None:
        """An epoch begins, counted from 1."""
        now = self._clock()
        if self._began is not None:
            self._whole = (now - self._began) / max(1, epoch - self._epoch)
        self._epoch, self._began = epoch, now
        self._left_to_do = self.steps
        self._pace.restart()

    def step(self, done: int) -> None:
        """So many steps of the epoch are done."""
        self._pace.add(self._left_to_do - (self.steps - done))
        self._left_to_do = self.steps - done

    @property
    def epoch_left(self) -> float | None:
        """Seconds of steps left in this epoch; None before the first step."""
        return self._pace.left(self._left_to_do)

    @property
    def left(self) -> float | None:
        """Seconds left in all; None before the first step."""
        epoch_left = self.epoch_left
        if epoch_left is None:
            return None
        whole = self._whole if self._whole is not None else self._pace.left(self.steps)
        return epoch_left + (self.epochs - self._epoch) * (whole or 0.0)
