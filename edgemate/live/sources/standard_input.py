"""Standard input: encoded images one after another, or raw frames of a known size."""

from __future__ import annotations

import io
import os
import re
import select
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from edgemate.errors import DataError, ImageError, UsageError
from edgemate.limits import IMAGE_PIXELS, IMAGE_SIDE
from edgemate.live.frame import Frame
from edgemate.live.sources.base import Source
from edgemate.live.sources.image_stream import ImageSplitter
from edgemate.runtime.preprocessing import ImageInput

_CHUNK = 1 << 16
_LOOK_SECONDS = 0.1
_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})(?::(rgb|gray))?")


class StandardInput(Source):
    """JPEG and PNG images that follow one another, or with `raw` frames of pixels.

    It is read without a buffer of its own: an image is seen as soon as its last byte has come.

    Args:
        raw: `640x480` for frames of RGB bytes, width before height, or `640x480:gray`; None for encoded images.
        descriptor: of the file to read.

    Raises:
        UsageError: `raw` is not such a size. From `frames`, DataError where nothing comes, or no image is in it.
    """

    name = "standard input"
    live = True  # with pace `real` frames are due when they come

    def __init__(self, *, raw: str | None = None, descriptor: int = 0) -> None:
        self._shape = None if raw is None else _parse(raw)
        self._descriptor = descriptor
        self._closed = False
        self._came = False  # anything at all

    def frames(self) -> Iterator[Frame]:
        """The frames, until the stream ends."""
        start: float | None = None
        for index, load in enumerate(self._encoded() if self._shape is None else self._raw(self._shape)):
            now = time.monotonic()
            start = now if start is None else start
            yield Frame(index, load, now - start, now)
        if not self._came and not self._closed:
            raise DataError("standard input: is empty; give JPEG or PNG images, or with `raw` frames of pixels")

    def close(self) -> None:
        """End it soon."""
        self._closed = True

    def _encoded(self) -> Iterator[Callable[[], ImageInput]]:
        splitter, found = ImageSplitter(), False
        while data := self._read():
            for image in splitter.feed(data):
                found = True
                yield partial(_open, image)
        for image in splitter.finish():
            found = True
            yield partial(_open, image)
        if splitter.skipped and not found and not self._closed:
            raise DataError(
                f"standard input: no image was found in {splitter.skipped:,} bytes; "
                "give JPEG or PNG images, or state the size of raw frames with `raw`"
            )

    def _raw(self, shape: tuple[int, ...]) -> Iterator[Callable[[], ImageInput]]:
        size, waiting = int(np.prod(shape)), bytearray()
        while data := self._read():
            waiting += data
            while len(waiting) >= size:
                yield partial(_array, bytes(waiting[:size]), shape)
                del waiting[:size]
        if waiting:
            yield partial(_cut_short, len(waiting), size)

    def _read(self) -> bytes:
        try:
            # A read that has begun cannot be ended by another thread.
            while not self._closed and not select.select([self._descriptor], [], [], _LOOK_SECONDS)[0]:
                pass
            data = b"" if self._closed else os.read(self._descriptor, _CHUNK)
        except OSError as error:
            raise DataError(f"standard input: cannot be read: {error.strerror}") from error
        self._came = self._came or bool(data)
        return data


def _parse(raw: str) -> tuple[int, ...]:
    found = _SIZE.fullmatch(raw)
    width, height = (int(found[1]), int(found[2])) if found else (0, 0)
    if found is None or not width or not height:
        raise UsageError(f"raw {raw!r}: give WIDTHxHEIGHT, such as 640x480, or 640x480:gray")
    if max(width, height) > IMAGE_SIDE.most or width * height > IMAGE_PIXELS.most:
        raise UsageError(
            f"raw {raw}: the limits are {IMAGE_SIDE.most:,} pixels a side and {IMAGE_PIXELS.most:,} in all"
        )
    return (height, width) if found[3] == "gray" else (height, width, 3)


def _open(data: bytes) -> Image.Image:
    name = f"standard input: an image of {len(data):,} bytes"
    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
    except Exception as error:  # a damaged image can make Pillow raise almost anything
        unknown = isinstance(error, UnidentifiedImageError)  # whose text has an address in memory
        reason = "it is cut short or damaged" if unknown else " ".join(str(error).split())
        raise ImageError(f"{name}: cannot be decoded: {reason}") from error
    image.filename = name  # for messages about what is found when it is decoded
    return image


def _array(data: bytes, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    return np.frombuffer(data, np.uint8).reshape(shape)


def _cut_short(found: int, size: int) -> npt.NDArray[Any]:
    raise ImageError(f"standard input: ends with {found:,} of a frame's {size:,} bytes; does `raw` state its size?")
