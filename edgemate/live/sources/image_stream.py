"""JPEG and PNG images out of a stream of bytes in which they follow one another.

Nothing between them says how long they are: where an image ends is in the image. So `cat *.jpg`, a camera's MJPEG and
an HTTP server's multipart MJPEG are all such streams; bytes between two images are skipped and counted. An image that
breaks off is given up to where the next one begins, so that it is counted too.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

from edgemate.limits import STREAM_IMAGE_BYTES

_STARTS = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n")
_LONGEST_START = 8
# In compressed data FF is followed by 00, by the number of a restart, or by another FF; anything else is a marker.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_METADATA = frozenset((*range(0xE0, 0xF0), 0xFE))


class ImageSplitter:
    """Takes bytes as they come and gives whole images, and those that break off, longer ones than `most` among them.

    Attributes:
        skipped: bytes that belonged to no image.
    """

    def __init__(self, most: int = STREAM_IMAGE_BYTES.most) -> None:
        self.skipped = 0
        self._most = most
        self._data = bytearray()
        self._at = 0  # how far the image at the start of the data has been followed; 0: no start found yet
        self._last = 0  # where its part before that begins
        self._likely = False  # another part of a JPEG has come where the first one ends
        self._compressed = False  # `_at` is within a JPEG's compressed data
        self._broken = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The images that these bytes complete."""
        self._data += data
        yield from self._split(ended=False)

    def finish(self) -> Iterator[bytes]:
        """What is left at the end of the stream: images that are not whole."""
        yield from self._split(ended=True)
        self._drop(len(self._data))

    def _split(self, *, ended: bool) -> Iterator[bytes]:
        while self._at or self._find_start():
            end = None if self._broken else self._end_of_png() if self._data[0] == 0x89 else self._end_of_jpeg()
            if end is None:
                end = self._end_of_broken(ended=ended)
            if end is None:
                return
            if self._is_image(ended=ended):
                yield bytes(self._data[:end])
                self._forget(end)
            else:
                self._drop(end)

    def _find_start(self) -> bool:
        found = _STARTS.search(self._data)
        if found is None:
            self._drop(max(len(self._data) - _LONGEST_START + 1, 0))
            return False
        self._drop(found.start())
        self._at = 2 if self._data[0] == 0xFF else 8
        return True

    def _is_image(self, *, ended: bool) -> bool:
        """Whether what begins like an image goes on like one; three bytes alone may be anything."""
        return self._data[0] == 0x89 or self._likely or (ended and not self._broken)

    def _end_of_png(self) -> int | None:
        """Where the PNG ends; None if that has not come yet, or it is broken."""
        data = self._data
        while self._at + 8 <= len(data):
            length, kind = int.from_bytes(data[self._at : self._at + 4], "big"), data[self._at + 4 : self._at + 8]
            after = self._at + 12 + length
            if not kind.isalpha() or after > self._most:
                self._broken = True
                return None
            if after > len(data):
                return None
            # Where the image breaks off in this chunk, what its length says is of the next image.
            if zlib.crc32(data[self._at + 4 : after - 4]) != int.from_bytes(data[after - 4 : after], "big"):
                self._broken = True
                self._last = self._at
                return None
            if kind == b"IEND":
                return after
            self._go_on(after)
        return None

    def _end_of_jpeg(self) -> int | None:
        """Where the JPEG ends; None if that has not come yet, or it is broken."""
        data = self._data
        while True:
            if self._compressed:
                found = _MARKER.search(data, self._at)
                if found is None:
                    self._at = max(self._at, len(data) - 1)
                    return None
                if _STARTS.search(data, self._last, found.end() + 1):  # the marker is of the next image
                    self._broken = True
                    return None
                self._go_on(found.start())
                self._last = self._at  # nothing of it can have been in the compressed data
                self._compressed = False
            if self._at + 2 > len(data):
                return None
            marker = data[self._at + 1] if data[self._at] == 0xFF else None
            if marker == _EOI:
                return self._at + 2
            if marker == 0xFF:
                self._at += 1
            elif marker == 0x01 or (marker is not None and 0xD0 <= marker <= 0xD7):
                self._go_on(self._at + 2)
            elif marker is None or marker < 0xC0 or marker == _SOI:  # it breaks off, and another one may have begun
                self._broken = True
                self._last = self._at if marker == _SOI else self._last  # not at a thumbnail in the part before
                return None
            elif self._at + 4 > len(data):
                return None
            else:
                after = self._at + 2 + int.from_bytes(data[self._at + 2 : self._at + 4], "big")
                if marker in _METADATA:
                    self._go_on(after)
                    self._last = after  # a thumbnail in it is no image
                    continue
                self._last = self._at
                self._likely = self._likely or self._at > 2
                if after >= len(data):
                    return None
                if _STARTS.search(data, self._at, after + 1):  # it breaks off in this part
                    self._broken = True
                    return None
                self._go_on(after)
                self._compressed = marker == _SOS

    def _end_of_broken(self, *, ended: bool) -> int | None:
        """Where an image that is broken, longer than any may be, or not whole at the end breaks off.

        That is where the next one begins, or all that has come. None where more must come first.
        """
        too_long = max(self._at, len(self._data)) > self._most
        if not (self._broken or ended or too_long):
            return None
        self._broken = self._broken or too_long
        found = _STARTS.search(self._data, max(self._last, 1))  # what it last seemed to have may be of the next one
        if found is not None:
            return found.start()
        self._last = max(self._last, len(self._data) - _LONGEST_START + 1)
        return len(self._data) if ended or len(self._data) > self._most else None

    def _go_on(self, at: int) -> None:
        self._last, self._at = self._at, at

    def _drop(self, count: int) -> None:
        self.skipped += count
        self._forget(count)

    def _forget(self, count: int) -> None:
        del self._data[:count]
        self._at = self._last = 0
        self._likely = self._compressed = self._broken = False
