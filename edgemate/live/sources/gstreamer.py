"""A GStreamer pipeline, read by OpenCV: on a Jetson the way to its camera interface and hardware decoder."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.errors import DataError, UsageError
from edgemate.live.frame import Frame
from edgemate.live.sources.base import Source
from edgemate.wording import shortened

_NEEDS = "gst: needs an OpenCV that was built with GStreamer, as JetPack's is (apt install python3-opencv); "
# GStreamer keeps the last frame itself, and drops those that nobody took.
_SINK = "videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"


class GStreamer(Source):
    """Frames of a pipeline, such as `nvarguscamerasrc ! nvvidconv ! video/x-raw,format=BGRx`.

    Args:
        pipeline: its text; what hands frames on (`appsink`) is added where it is missing.

    Raises:
        DataError: GStreamer cannot start it.
        UsageError: there is no OpenCV with GStreamer here.
    """

    live = True
    usual_pace = "real"

    def __init__(self, pipeline: str) -> None:
        self.name = shortened(f"gst:{pipeline}")
        if not pipeline.strip():
            raise UsageError("source 'gst:': give a pipeline, such as gst:nvarguscamerasrc")
        try:
            import cv2
        except ImportError as error:
            raise UsageError(f"{_NEEDS}no OpenCV can be imported ({error})") from error
        built = next((line for line in cv2.getBuildInformation().splitlines() if "GStreamer" in line), "")
        if "YES" not in built:
            raise UsageError(f"{_NEEDS}OpenCV {cv2.__version__} here has none")
        text = pipeline if "appsink" in pipeline else f"{pipeline} ! {_SINK}"
        self._capture: Any = cv2.VideoCapture(text, cv2.CAP_GSTREAMER)
        if not self._capture.isOpened():
            raise DataError(f"{self.name}: GStreamer cannot start it; try it with gst-launch-1.0")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.period = 1 / rate if 0 < rate < 1000 else None
        self._closed = threading.Event()

    def frames(self) -> Iterator[Frame]:
        """The frames, until the pipeline ends."""
        index, start = 0, time.monotonic()
        try:
            while not self._closed.is_set():
                good, pixels = self._capture.read()
                now = time.monotonic()
                if not good:
                    if self._closed.is_set() or index:
                        return
                    raise DataError(f"{self.name}: gives no frame; try it with gst-launch-1.0")
                yield Frame(index, partial(_rgb, pixels), now - start, now)
                index += 1
        finally:
            self._capture.release()

    def close(self) -> None:
        """End it after the frame that is being read."""
        self._closed.set()


def _rgb(bgr: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return bgr if bgr.ndim == 2 else np.ascontiguousarray(bgr[:, :, 2::-1])
