"""A source from the text that names it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from edgemate.core.image_search import IMAGE_SUFFIXES
from edgemate.errors import UsageError
from edgemate.live.sources.addresses import without_password
from edgemate.live.sources.base import Source
from edgemate.wording import shortened

_URL = re.compile(r"^(rtsps?|https?|udp|rtp|tcp|srt)://", re.IGNORECASE)
_OTHER_URL = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
# Digits that end the host; those of a password are followed by @.
_PORT = re.compile(r"://[^/?\s]*:(\d+)(?=[/?]|$)")
_KINDS = "camera:0, gst:PIPELINE, rtsp://…, a video file, an image folder, or - for standard input"


@dataclass(frozen=True)
class SourceOptions:
    """What some kinds of sources can be told.

    Attributes:
        watch: a folder: wait for new images when all are answered, instead of ending.
        done: a folder: move images there once they are answered.
        raw: standard input: frames of raw pixels, `WIDTHxHEIGHT` for RGB or `WIDTHxHEIGHT:gray`, not encoded images.
    """

    watch: bool = False
    done: Path | None = None
    raw: str | None = None


def open_source(text: str, options: SourceOptions = SourceOptions()) -> Source:
    """The source that a text names: `camera:0`, `gst:PIPELINE`, a URL, a video file, an image, a folder, or `-`.

    Raises:
        DataError: it is there and cannot be opened.
        UsageError: there is no such source, the library that reads it is not installed, or an option is not for it.
    """
    if not text:
        raise UsageError(f"source: is empty; give {_KINDS}")
    is_folder = not _is_special(text) and os.path.isdir(text)  # noqa: PTH112, a name that is too long is none
    for option, given in (("watch", options.watch), ("done", options.done is not None)):
        if given and not is_folder:
            raise UsageError(f"`{option}` is for a folder of images, and the source is {_shown(text)}")
    if options.raw is not None and text != "-":
        raise UsageError(f"`raw` is for standard input (-), and the source is {_shown(text)}")
    if text == "-":
        from edgemate.live.sources.standard_input import StandardInput

        return StandardInput(raw=options.raw)
    if text.startswith("gst:"):
        from edgemate.live.sources.gstreamer import GStreamer

        return GStreamer(text.removeprefix("gst:"))
    if _URL.match(text) and (port := _PORT.search(text)) and (len(port[1]) > 5 or int(port[1]) > 65_535):
        raise UsageError(f"source {_shown(text)}: port {shortened(port[1])} is above 65535, the highest there is")
    if text.startswith("camera:") or _URL.match(text):
        from edgemate.live.sources.video import Camera, Stream

        return Camera(text.removeprefix("camera:")) if text.startswith("camera:") else Stream(text)
    if _OTHER_URL.match(text):
        known = "rtsp://, rtsps://, http://, https://, udp://, rtp:// or tcp://"
        raise UsageError(f"source {_shown(text)}: streams are read from addresses that begin with {known}")
    return _from_path(Path(text), options)


def _from_path(path: Path, options: SourceOptions) -> Source:
    from edgemate.live.sources.folder import Folder

    if os.path.isdir(path):  # noqa: PTH112, likewise
        return Folder(path, watch=options.watch, done=options.done)
    if not os.path.exists(path):  # noqa: PTH110, likewise
        raise UsageError(f"source {shortened(str(path))}: no such file or folder; give {_KINDS}")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return Folder(path)
    from edgemate.live.sources.video import VideoFile

    return VideoFile(path)


def _is_special(text: str) -> bool:
    return text == "-" or text.startswith(("gst:", "camera:")) or _URL.match(text) is not None


def _shown(text: str) -> str:
    return shortened(without_password(text))
