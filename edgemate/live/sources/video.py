"""Video files, network streams and cameras, read by PyAV, which is FFmpeg."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.errors import DataError, ImageError, UsageError
from edgemate.live.frame import Frame
from edgemate.live.sources.addresses import without_password
from edgemate.live.sources.base import Source
from edgemate.live.sources.falling_behind import FallingBehind
from edgemate.wording import counted, shortened

_OPEN_SECONDS, _READ_SECONDS = 15.0, 15.0
_BACK_SECONDS, _FORTH_SECONDS = 1.0, 10.0  # the second is FFmpeg's own
"""What a recording's clock jumps by at least where it was set anew, in formats whose clock may be."""
# What holds video itself. A playlist (HLS, DASH, concat) or a pattern of names (image2) would open other files.
_FORMATS = (
    "3gp apng asf av1 avi dv flv gif h261 h263 h264 hevc ivf m4v matroska mjpeg mov mp4 mpeg mpegts mpegvideo mxf nut "
    "obu ogg vc1 webm yuv4mpegpipe"
)
_TS_DISCONT = 0x0200  # of FFmpeg's flags of formats
_FILE_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": ",".join(_FORMATS.split())}
_LIVE_OPTIONS = {"fflags": "nobuffer", "flags": "low_delay", "rtsp_transport": "tcp"}


class _Video(Source):
    """What PyAV opens."""

    usual_pace = "real"

    def __init__(self, name: str, place: str, *, kind: str | None = None, options: dict[str, str]) -> None:
        self.name = name
        self._av = _import_av(name)
        self._closed = False
        try:
            self._container = self._av.open(place, format=kind, options=options, timeout=(_OPEN_SECONDS, _READ_SECONDS))
        except self._av.error.ExitError as error:  # as the timeout is called
            raise DataError(f"{name}: cannot be opened: nothing came within {_OPEN_SECONDS:g} seconds") from error
        except (OSError, ValueError, self._av.error.FFmpegError) as error:
            refused = "format_whitelist" in options and getattr(error, "errno", None) == errno.EINVAL
            reason = "is a playlist, or no video file that is read here; name the video itself" if refused else None
            raise DataError(f"{name}: {reason or f'cannot be opened: {_reason(error)}'}") from error
        if not self._container.streams.video:
            self._container.close()
            raise DataError(f"{name}: has no video")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "SLICE" if self.live else "AUTO"  # decoding frames in parallel delays them
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.period = float(1 / rate) if rate and 0 < rate < 1000 else None

    def frames(self) -> Iterator[Frame]:
        """The frames, until the video or stream ends."""
        try:
            yield from self._decoded()
        except (OSError, ValueError, self._av.error.FFmpegError) as error:
            if not self._closed:
                if isinstance(error, self._av.error.ExitError):
                    raise DataError(f"{self.name}: ends: nothing came for {_READ_SECONDS:g} seconds") from error
                raise DataError(f"{self.name}: ends with an error: {_reason(error)}") from error
        finally:
            self._container.close()

    def close(self) -> None:
        """End it after the frame that is being read; a stream that sends nothing after 15 seconds."""
        self._closed = True

    def _decoded(self) -> Iterator[Frame]:
        index = decoded = 0
        clock = _Clock(self.period, resets=bool(self._container.format.flags & _TS_DISCONT))
        behind = FallingBehind() if self.live else None
        for packet in self._container.demux(self._stream):
            if self._closed:
                return
            if behind is not None and packet.size and packet.pts is not None:
                seconds = float(packet.pts * packet.time_base)
                if behind.skips(time.monotonic(), seconds, keyframe=packet.is_keyframe):
                    self.lost += 1
                    index += 1
                    continue
            try:
                frames = packet.decode()
            except self._av.error.InvalidDataError as error:  # one damaged packet does not end a camera
                stamp = clock.seconds(None if packet.pts is None else float(packet.pts * packet.time_base))
                yield Frame(index, partial(_damaged, self.name, _reason(error)), stamp, time.monotonic())
                index += 1
                continue
            for frame in frames:
                now = time.monotonic()
                yield Frame(index, partial(_rgb, frame, self.name), clock.seconds(frame.time), now)
                index += 1
                decoded += 1
        if index and not decoded and not self._closed:
            raise DataError(f"{self.name}: none of its {counted(index, 'frame')} can be decoded")
        if not index and not self._closed:
            raise DataError(f"{self.name}: ends without a frame")


class _Clock:
    """Seconds since the first frame.

    Args:
        period: seconds between two frames, if known.
        resets: the clock may be set anew within the video: in MPEG-TS where recordings were joined, or their sender
            was started again. The frame after that follows the one before it, instead of hours later.
    """

    def __init__(self, period: float | None, *, resets: bool) -> None:
        self._period = period or 0.0
        self._resets = resets
        self._first: float | None = None
        self._last = 0.0

    def seconds(self, stamp: float | None) -> float | None:
        """Of a frame with this time; None for one without."""
        if stamp is None:
            return None
        if self._first is None:
            self._first = stamp
        step = stamp - self._first - self._last
        if self._resets and not -_BACK_SECONDS < step < _FORTH_SECONDS:
            self._first += step - self._period
        self._last = stamp - self._first
        return self._last


class VideoFile(_Video):
    """A video file. DataError if it cannot be opened, UsageError without PyAV."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), f"file:{path}", options=dict(_FILE_OPTIONS))


class Stream(_Video):
    """A stream of the network, such as `rtsp://host/path`. Errors are those of `VideoFile`."""

    live = True

    def __init__(self, url: str) -> None:
        shown = shortened(without_password(url))
        options = dict(_LIVE_OPTIONS) if url.lower().startswith("rtsp") else {"fflags": "nobuffer"}
        super().__init__(shown, url, options=options)


class Camera(_Video):
    """A camera of Video4Linux: `0` for /dev/video0, or the path of its device. Errors are those of `VideoFile`."""

    live = True

    def __init__(self, given: str) -> None:
        if not given.isdecimal() and not given.startswith("/dev/"):
            shown = shortened(f"camera:{given}")
            raise UsageError(f"source {shown!r}: give the camera's number, such as camera:0, or camera:/dev/video0")
        device = f"/dev/video{given}" if given.isdecimal() else given
        super().__init__(f"camera {device}", device, kind="video4linux2", options={})


def _damaged(name: str, reason: str) -> npt.NDArray[Any]:
    raise ImageError(f"{name}: a frame cannot be decoded: {reason}")


def _rgb(frame: Any, name: str) -> npt.NDArray[Any]:
    """The frame upright, uint8 `(H, W, 3)`."""
    try:
        pixels = frame.to_ndarray(format="rgb24")
    except (OSError, ValueError) as error:
        raise ImageError(f"{name}: a frame cannot be converted to RGB: {_reason(error)}") from error
    turns = round(getattr(frame, "rotation", 0) / 90) % 4  # counterclockwise, as numpy's
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _import_av(name: str) -> Any:
    try:
        import av
    except ImportError as error:
        raise UsageError(f"{name}: needs PyAV, which cannot be imported ({error}): pip install av") from error
    # With any other level PyAV takes Python's lock for each of FFmpeg's messages, and waits forever where a decoding
    # thread says something while Python frees the decoder and holds that lock.
    av.logging.set_level(None)
    return av


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
