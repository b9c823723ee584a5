"""What became of the frames."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from edgemate.live.answer import LiveAnswer
from edgemate.live.latest_frame import FrameReader
from edgemate.wording import counted, percent


@dataclass(frozen=True)
class LiveReport:
    """Counts since the start. Every frame that was read is in one of `answered`, `unreadable`, or those skipped.

    Attributes:
        frames: that the source gave.
        answered: that got an answer.
        still: of those, how many kept the answer of an earlier frame.
        replaced: skipped, since a newer one had come.
        too_old: skipped, since they were older than allowed when their turn came.
        lost: skipped by the source, since decoding fell behind.
        unanswered: that wait, or waited when it was stopped.
        unreadable: could not be decoded or prepared.
        exits: exit → how many frames were computed up to it.
        late: answers after their deadline.
        oldest_ms: the greatest age at which work on a frame began, of those answered.
        mean_ms: milliseconds of network and exit policy, mean over the answers; 0 without any.
        delayed_ms: by which the playing of a file was delayed, since it could not be read in time.
        reloads: bundles that took the place of the one before.
        refused: new bundles that were not taken.
        drift_alerts: one sentence for each figure outside of its calibrated range, where an operating point is used.
        warnings: sentences about logits that were not finite, and failed segments.
    """

    frames: int = 0
    answered: int = 0
    still: int = 0
    replaced: int = 0
    too_old: int = 0
    lost: int = 0
    unanswered: int = 0
    unreadable: int = 0
    exits: dict[int, int] = field(default_factory=dict)
    late: int = 0
    oldest_ms: float = 0.0
    mean_ms: float = 0.0
    delayed_ms: float = 0.0
    reloads: int = 0
    refused: int = 0
    drift_alerts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            **found,
            "exits": {str(exit): count for exit, count in self.exits.items()},
            "drift_alerts": list(self.drift_alerts),
            "warnings": list(self.warnings),
        }

    @property
    def summary(self) -> str:
        """One line: what came of the frames."""
        skipped = self.replaced + self.too_old + self.lost
        parts = [f"{counted(self.frames, 'frame')}: {self.answered:,} answered"]
        if self.still:
            parts.append(f"{self.still:,} of them like an earlier frame, whose answer they kept")
        if skipped:
            why = (
                (self.replaced, "since a newer one had come"),
                (self.too_old, "since they were too old"),
                (self.lost, "by the source, since decoding fell behind"),
            )
            parts.append(f"{skipped:,} skipped ({', '.join(f'{n:,} {reason}' for n, reason in why if n)})")
        if self.unreadable:
            parts.append(f"{self.unreadable:,} could not be read")
        if self.unanswered:
            parts.append(f"{self.unanswered:,} still waiting")
        if self.answered:
            parts.append(f"an answer took {self.mean_ms:.2f} ms on average, network and policy")
            parts.append(f"the oldest frame was {self.oldest_ms:.1f} ms old when its turn came")
        if self.exits:
            computed = sum(self.exits.values())
            taken = ", ".join(f"exit {exit} {percent(count / computed)}" for exit, count in self.exits.items())
            parts.append(f"answered by {taken}")
        if self.late:
            parts.append(f"{counted(self.late, 'answer')} came after the deadline")
        if self.delayed_ms >= 0.5:
            parts.append(f"the video was played {self.delayed_ms:.0f} ms late, since it could not be read faster")
        if self.reloads or self.refused:
            parts.append(f"{counted(self.reloads, 'new bundle')} taken, {self.refused:,} refused")
        return "; ".join(parts)


class Counters:
    """Counts answers, and makes the report."""

    def __init__(self) -> None:
        self.reloads = 0
        self.refused = 0
        self._exits: Counter[int] = Counter()
        self._answered = self._still = self._unreadable = self._late = 0
        self._oldest = self._milliseconds = 0.0

    def add(self, answer: LiveAnswer) -> None:
        """Count an answer."""
        prediction = answer.prediction
        if prediction is None:
            self._unreadable += 1
            return
        self._answered += 1
        self._still += answer.still
        self._late += bool(answer.late)
        self._oldest = max(self._oldest, answer.age_ms)
        self._milliseconds += prediction.milliseconds
        if not answer.still:
            self._exits[prediction.exit] += 1

    def report(
        self, reader: FrameReader, *, drift_alerts: tuple[str, ...] = (), warnings: tuple[str, ...] = ()
    ) -> LiveReport:
        """What was counted so far."""
        skipped = reader.replaced + reader.too_old
        return LiveReport(
            frames=reader.read + reader.source.lost,
            answered=self._answered,
            still=self._still,
            replaced=reader.replaced,
            too_old=reader.too_old,
            lost=reader.source.lost,
            unanswered=max(reader.read - skipped - self._answered - self._unreadable, 0),
            unreadable=self._unreadable,
            exits={exit: self._exits[exit] for exit in sorted(self._exits)},
            late=self._late,
            oldest_ms=self._oldest,
            mean_ms=self._milliseconds / max(self._answered, 1),
            delayed_ms=1e3 * reader.delayed,
            reloads=self.reloads,
            refused=self.refused,
            drift_alerts=drift_alerts,
            warnings=warnings,
        )
