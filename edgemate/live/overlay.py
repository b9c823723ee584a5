"""Frames with their answers drawn on them, in a window or as a video file."""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edgemate.core.image_files import decode
from edgemate.errors import UsageError
from edgemate.live.answer import LiveAnswer
from edgemate.runtime.preprocessing import ImageInput

_TICKS = 90_000  # per second, as video formats count time
_SUFFIXES = (".mp4", ".mkv", ".mov", ".avi")


class Overlay(ABC):
    """Shows each answered frame."""

    def show(self, image: ImageInput, answer: LiveAnswer) -> None:
        """Draw the answer on a frame that could be read, and show it."""
        self._put(drawn(image, answer), answer)

    @abstractmethod
    def _put(self, image: Image.Image, answer: LiveAnswer) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """Finish it."""


def open_overlay(given: str) -> Overlay:
    """`window`, or the name of a video file.

    Raises:
        UsageError: it cannot be shown or written here.
    """
    if given == "window":
        return _Window()
    path = Path(given)
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"overlay {given!r}: give window, or a file whose name ends with {', '.join(_SUFFIXES)}")
    return _VideoFile(path)


def drawn(image: ImageInput, answer: LiveAnswer) -> Image.Image:
    """A copy of the frame in RGB, with a line about the answer at its lower edge."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    canvas = decode(image, 3, "frame").convert("RGB")
    prediction = answer.prediction
    if prediction is None:
        return canvas
    label = "none" if prediction.label is None else prediction.label
    words = f"{label}  {prediction.probability:.2f}  exit {prediction.exit}  {prediction.milliseconds:.1f} ms"
    text = words + ("  still" if answer.still else "") + ("  late" if answer.late else "")
    font = _font(max(canvas.height // 20, 10))
    draw = ImageDraw.Draw(canvas)
    try:
        box = draw.textbbox((0, 0), text, font=font)
    except UnicodeEncodeError:  # a font without those letters
        text = text.encode("latin-1", "replace").decode("latin-1")
        box = draw.textbbox((0, 0), text, font=font)
    top = canvas.height - int(box[3]) - 6
    draw.rectangle((0, top, canvas.width, canvas.height), fill=(0, 0, 0))
    draw.text((3, top + 2), text, font=font, fill=(255, 255, 255))
    return canvas


class _VideoFile(Overlay):
    """H.264 where PyAV has an encoder for it, else MPEG-4.

    An MP4 is written in fragments, so that what a killed process leaves can be played.
    """

    def __init__(self, path: Path) -> None:
        try:
            import av
        except ImportError as error:
            raise UsageError(
                f"overlay {path}: needs PyAV, which cannot be imported ({error}): pip install av"
            ) from error
        self._av: Any = av
        self._codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        options = {"movflags": "frag_keyframe+empty_moov"} if path.suffix.lower() in (".mp4", ".mov") else {}
        try:
            self._container: Any = av.open(str(path), "w", options=options)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"overlay {path}: cannot be written: {reason}") from error
        self._stream: Any = None
        self._first = 0.0
        self._last = -1

    def _put(self, image: Image.Image, answer: LiveAnswer) -> None:
        time = answer.captured if answer.timestamp is None else answer.timestamp
        if self._stream is None:
            self._first = time
            self._stream = self._container.add_stream(self._codec, rate=30)
            self._stream.width, self._stream.height = max(image.width & ~1, 2), max(image.height & ~1, 2)
            self._stream.pix_fmt = "yuv420p"
            self._stream.codec_context.time_base = Fraction(1, _TICKS)
            if self._codec == "libx264":
                self._stream.options = {"preset": "ultrafast", "tune": "zerolatency"}
        size = (self._stream.width, self._stream.height)
        frame = self._av.VideoFrame.from_image(image if image.size == size else image.resize(size))
        frame.time_base = Fraction(1, _TICKS)
        self._last = frame.pts = max(round((time - self._first) * _TICKS), self._last + 1)
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def close(self) -> None:
        if self._stream is not None:
            for packet in self._stream.encode():
                self._container.mux(packet)
        self._container.close()


class _Window(Overlay):
    _TITLE = "edgemate"

    def __init__(self) -> None:
        try:
            import cv2
        except ImportError as error:
            raise UsageError(f"overlay window: needs OpenCV, which cannot be imported ({error})") from error
        self._cv2: Any = cv2
        # Without a screen OpenCV's window library ends the process instead of raising.
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise UsageError("overlay window: there is no screen (DISPLAY is not set); name a video file instead")
        try:
            cv2.namedWindow(self._TITLE, cv2.WINDOW_NORMAL)
        except cv2.error as error:
            raise UsageError(
                "overlay window: this OpenCV was built without windows (opencv-python-headless?); name a video file"
            ) from error

    def _put(self, image: Image.Image, answer: LiveAnswer) -> None:
        self._cv2.imshow(self._TITLE, np.asarray(image)[:, :, ::-1])
        self._cv2.waitKey(1)

    def close(self) -> None:
        self._cv2.destroyAllWindows()


def _font(size: int) -> Any:
    try:
        return ImageFont.load_default(size)
    except (TypeError, ImportError, OSError):  # Pillow before 10.1, or without FreeType
        return ImageFont.load_default()
