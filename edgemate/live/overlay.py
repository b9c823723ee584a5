"""Frames with their answers drawn on them, in a window or as a video file."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edgemate import files
from edgemate.core.image_files import decode
from edgemate.durable import whole_file
from edgemate.errors import DataError, UsageError
from edgemate.live.answer import LiveAnswer
from edgemate.output_place import bundle_around
from edgemate.runtime.preprocessing import ImageInput
from edgemate.wording import shortened

_TICKS = 90_000  # per second, as video formats count time
_LONGEST_SECONDS = 60.0
"""How long a frame is shown at most: a folder may get an image a day, and a format's times have an end."""
# Those that keep the time of each frame. AVI has one rate, and fills the time between two frames with empty ones.
_FORMATS = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov"}


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
    check_overlay(given)
    return _VideoFile(Path(given))


def check_overlay(given: str, source: str | None = None) -> None:
    """Check where an overlay is to be written, before anything is opened.

    Args:
        given: `window`, or the name of a video file.
        source: the text that names the source.

    Raises:
        UsageError: it is no video file's name, is the source itself or in a bundle, or cannot be written.
    """
    if given == "window":
        return
    path, shown = Path(given), shortened(given)
    if path.suffix.lower() not in _FORMATS:
        raise UsageError(f"overlay {shown!r}: give window, or a file whose name ends with {', '.join(_FORMATS)}")
    if source is not None and _is_source(path, source):
        raise UsageError(f"overlay {shown}: is the source itself; name another file")
    if os.path.lexists(path):
        mode = os.lstat(path).st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "a link or no plain file"
            raise UsageError(f"overlay {shown}: is {kind}; name another file")
    if not os.path.isdir(path.parent):  # noqa: PTH112, a name that is too long is none
        raise UsageError(f"overlay {shown}: there is no folder {shortened(str(path.parent))}; make it first")
    bundle = bundle_around(path.parent.resolve())
    if bundle is not None:
        raise UsageError(f"overlay {shown}: is inside the bundle {bundle}; name a file outside")
    try:
        files.check_file(path)
    except OSError as error:
        raise UsageError(f"overlay {shown}: cannot be written: {error.strerror}") from error


def _is_source(path: Path, source: str) -> bool:
    """Whether both are one file, whatever their names are."""
    try:
        return os.path.samestat(path.stat(), os.fstat(0) if source == "-" else Path(source).stat())
    except (OSError, ValueError):  # one is not there, or no file
        return False


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

    It is written under a hidden name and takes its place at the end. Without a frame what is there stays.
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
        self._path = path
        self._failed = False  # which has been raised
        options = {"movflags": "frag_keyframe+empty_moov"} if path.suffix.lower() in (".mp4", ".mov") else {}
        self._file = contextlib.ExitStack()
        with self._problems():
            target = self._file.enter_context(whole_file(path))
            try:
                self._container: Any = av.open(target, "w", format=_FORMATS[path.suffix.lower()], options=options)
            except BaseException:
                self._discard()
                raise
        self._stream: Any = None
        self._before = 0.0
        self._ticks = 0

    def _put(self, image: Image.Image, answer: LiveAnswer) -> None:
        with self._problems():
            self._encode(image, answer)

    def _encode(self, image: Image.Image, answer: LiveAnswer) -> None:
        time = answer.captured if answer.timestamp is None else answer.timestamp
        if self._stream is None:
            self._before, self._ticks = time, -1
            self._stream = self._container.add_stream(self._codec, rate=30)
            self._stream.width, self._stream.height = max(image.width & ~1, 2), max(image.height & ~1, 2)
            self._stream.pix_fmt = "yuv420p"
            self._stream.codec_context.time_base = Fraction(1, _TICKS)
            if self._codec == "libx264":
                self._stream.options = {"preset": "ultrafast", "tune": "zerolatency"}
        size = (self._stream.width, self._stream.height)
        frame = self._av.VideoFrame.from_image(image if image.size == size else image.resize(size))
        frame.time_base = Fraction(1, _TICKS)
        step = round(min(time - self._before, _LONGEST_SECONDS) * _TICKS)
        self._before = time
        self._ticks = frame.pts = self._ticks + max(step, 1)
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def close(self) -> None:
        if self._failed:
            self._discard()
            return
        with self._problems():
            try:
                if self._stream is not None:
                    for packet in self._stream.encode():
                        self._container.mux(packet)
                    self._container.close()
            except BaseException:
                self._discard()
                raise
            if self._stream is None:
                self._discard()
            else:
                self._file.close()

    def _discard(self) -> None:
        with contextlib.suppress(_DiscardedError), self._file:
            raise _DiscardedError

    @contextlib.contextmanager
    def _problems(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, self._av.error.FFmpegError) as error:
            self._failed = True
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"overlay {self._path}: cannot be written: {reason}") from error


class _DiscardedError(Exception):
    """The file is not wanted."""


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
