"""Running counts of what a classifier answered."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable

from edgemate.monitoring import Statistics
from edgemate.runtime.prediction import Prediction


class Counts:
    """Answers per exit, their probabilities, those that came late and those degraded; `exits` is K.

    Threads may share it.
    """

    def __init__(self, exits: int) -> None:
        self.non_finite = 0
        self._answers = [0] * exits
        self._probability = 0.0
        self._deadlines = 0
        self._late = 0
        self._degraded = 0
        self._lock = threading.Lock()  # += reads and writes, and another thread may come between

    def add_non_finite(self, times: int) -> None:
        """Count so many times that an exit's logits were no numbers."""
        if times:
            with self._lock:
                self.non_finite += times

    def add(self, answers: Iterable[Prediction], deadline_ms: float | None) -> None:
        """Count final answers, given under a deadline or under none."""
        with self._lock:
            for answer in answers:
                self._answers[answer.exit - 1] += 1
                self._degraded += answer.degraded
                if not math.isnan(answer.probability):
                    self._probability += answer.probability
                if deadline_ms is not None:
                    self._deadlines += 1
                    self._late += answer.milliseconds > deadline_ms

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
