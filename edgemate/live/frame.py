"""One frame on its way from a source to its answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edgemate.runtime.preprocessing import ImageInput


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame, not yet decoded to pixels: those that are never answered cost no decoding to RGB.

    Attributes:
        index: counted from 0, in the order of the source; frames that were skipped have a number too.
        image: gives its image, as `AnytimeClassifier.classify` takes it; raises ImageError where it is damaged.
        timestamp: seconds since the start of the source, by the source's own clock; None where it has none.
        captured: when it was read or, of a video file, due, in seconds of `time.monotonic`. What a camera and driver
            took before is not known.
        file: the image file that it is; None for a frame of a stream.
    """

    index: int
    image: Callable[[], ImageInput] = field(repr=False)
    timestamp: float | None
    captured: float
    file: Path | None = None
