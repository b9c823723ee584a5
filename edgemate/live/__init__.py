"""A resident classifier: frames of a camera, video, folder or pipe in, one answer per frame out (docs/live.md)."""

from edgemate.live.answer import LiveAnswer
from edgemate.live.counters import LiveReport
from edgemate.live.frame import Frame
from edgemate.live.latest_frame import FrameReader
from edgemate.live.resident import Resident

__all__ = ["Frame", "FrameReader", "LiveAnswer", "LiveReport", "Resident"]
