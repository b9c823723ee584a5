"""Running counts of what a classifier answered."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from edgemate.monitoring import Statistics
from edgemate.runtime.prediction import Prediction


class Counts:
    """Answers per exit, their probabilities, those that came late and those degraded; `exits` is K.

    Threads may share it.
    """

    def __init__(self, exits: int) -> None:
        self._exits = exits
        self._lock = threading.Lock()  # += reads and writes, and another thread may come between
        self.reset()

    def reset(self) -> None:
        """Count anew."""
        with self._lock:
            self.non_finite = 0
            self._answers = [0] * self._exits
            self._probability = 0.0
            self._deadlines = 0
            self._late = 0
            self._degraded = 0

    def add_non_finite(self, times: int) -> None:
        """Count so many times that an exit's logits were no numbers."""
        if times:
            with self._lock:
                self.non_finite += times

    def add(self, answers: Iterable[Prediction], deadline_ms: float | None) -> None:
        """Count final answers, given under a deadline or under none."""
        for answer in answers:
            self.add_one(answer.exit, answer.probability, answer.milliseconds, deadline_ms, answer.degraded)

    def add_one(
        self, exit: int, probability: float, milliseconds: float, deadline_ms: float | None, degraded: bool
    ) -> None:
        """Count one final answer."""
        with self._lock:
            self._answers[exit - 1] += 1
            self._degraded += degraded
            if probability == probability:  # not NaN
                self._probability += probability
            if deadline_ms is not None:
                self._deadlines += 1
                self._late += milliseconds > deadline_ms

    def statistics(self) -> Statistics:
        """What was counted so far."""
        with self._lock:
            return Statistics(
                answers=tuple(self._answers),
                probability_sum=self._probability,
                non_finite=self.non_finite,
                deadlines=self._deadlines,
                late=self._late,
                degraded=self._degraded,
            )
