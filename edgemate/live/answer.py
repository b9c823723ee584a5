"""The answer about one frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgemate.runtime.prediction import Prediction


@dataclass(frozen=True, eq=False)
class LiveAnswer:
    """What was found about one frame, or why nothing was.

    Attributes:
        frame: number of the frame in its source, from 0.
        timestamp: seconds since the start of the source, by its own clock; None where it has none.
        captured: when the frame was read from its source or, of a video file, due, in seconds since 1970.
        age_ms: milliseconds from then to when work on it began.
        latency_ms: milliseconds from then to this answer.
        prediction: the answer; None where the frame could not be read.
        still: the frame was like the last one that was computed, and has its answer; see `Still`.
        late: whether the answer came after the deadline; None without one.
        file: the image file; None for a frame of a stream.
        error: why there is no answer; None where there is one.
    """

    frame: int
    timestamp: float | None
    captured: float
    age_ms: float
    latency_ms: float
    prediction: Prediction | None
    still: bool = False
    late: bool | None = None
    file: Path | None = None
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values; `still`, `late`, `degraded`, `image` and `error` only where they say something."""
        found: dict[str, Any] = {
            "frame": self.frame,
            "timestamp": None if self.timestamp is None else round(self.timestamp, 6),
            "captured": round(self.captured, 6),
            "age_ms": round(self.age_ms, 3),
            "latency_ms": round(self.latency_ms, 3),
        }
        if self.file is not None:
            found["image"] = str(self.file)
        if self.prediction is None:
            return {**found, "error": self.error}
        probability = self.prediction.probability
        found |= {
            "index": self.prediction.index,
            "label": self.prediction.label,
            "probability": None if math.isnan(probability) else probability,
            "exit": self.prediction.exit,
            "milliseconds": round(self.prediction.milliseconds, 3),
        }
        if self.still:
            found["still"] = True
        if self.prediction.degraded:
            found["degraded"] = True
        return found if self.late is None else {**found, "late": self.late}
