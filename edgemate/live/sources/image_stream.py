"""JPEG and PNG images out of a stream of bytes in which they follow one another.

Nothing between them says how long they are: where an image ends is in the image. So `cat *.jpg`, a camera's MJPEG and
an HTTP server's multipart MJPEG are all such streams; bytes between two images are skipped and counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from edgemate.limits import STREAM_IMAGE_BYTES

_STARTS = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n")
_LONGEST_START = 8
# In compressed data FF is followed by 00, by the number of a restart, or by another FF; anything else is a marker.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA


class ImageSplitter:
    """Takes bytes as they come and gives whole images, and JPEGs that were cut short before the next image.

    Attributes:
        skipped: bytes that belonged to no image.
    """

    def __init__(self, most: int = STREAM_IMAGE_BYTES.most) -> None:
        self.skipped = 0
        self._most = most
        self._data = bytearray()
        self._at = 0  # how far the image at the start of the data has been followed; 0: no start found yet
        self._compressed = False  # `_at` is within a JPEG's compressed data

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The images that these bytes complete."""
        self._data += data
        while True:
            if not self._at and not self._find_start():
                return
            end = self._end_of_png() if self._data[0] == 0x89 else self._end_of_jpeg()
            if end is None:
                if self._at > self._most or len(self._data) > self._most:
                    self._drop(1)  # longer than any image: look for the next start
                    continue
                return
            if end:
                yield bytes(self._data[:end])
                self._forget(end)

    def finish(self) -> bytes:
        """What is left at the end of the stream: an image that is not whole, or nothing."""
        rest = bytes(self._data) if self._at else b""
        self.skipped += len(self._data) - len(rest)
        self._forget(len(self._data))
        return rest

    def _find_start(self) -> bool:
        found = _STARTS.search(self._data)
        if found is None:
            self._drop(max(len(self._data) - _LONGEST_START + 1, 0))
            return False
        self._drop(found.start())
        self._at = 2 if self._data[0] == 0xFF else 8
        return True

    def _end_of_png(self) -> int | None:
        """Where the PNG ends; None if that has not come yet."""
        data = self._data
        while self._at + 8 <= len(data):
            length, kind = int.from_bytes(data[self._at : self._at + 4], "big"), data[self._at + 4 : self._at + 8]
            after = self._at + 12 + length
            if after > self._most:
                break
            if after > len(data):
                return None
            self._at = after
            if kind == b"IEND":
                return after
        else:
            return None
        self._drop(1)
        return 0

    def _end_of_jpeg(self) -> int | None:
        """Where the JPEG ends; None if that has not come yet; 0 where this is none, which is then dropped."""
        data = self._data
        while True:
            if self._compressed:
                found = _MARKER.search(data, self._at)
                if found is None:
                    self._at = max(self._at, len(data) - 1)
                    return None
                self._at, self._compressed = found.start(), False
            if self._at + 4 > len(data):
                if data[self._at : self._at + 2] == b"\xff\xd9":
                    return self._at + 2
                return None
            marker = data[self._at + 1]
            if data[self._at] != 0xFF or marker == _SOI:  # cut short, and the next one has begun
                end = self._at if marker == _SOI and data[self._at] == 0xFF else self._next_start()
                if self._at > 2 and end:
                    return end
                self._drop(end or 1)
                return 0
            if marker == _EOI:
                return self._at + 2
            if marker == 0xFF:
                self._at += 1
            elif marker == 0x01 or 0xD0 <= marker <= 0xD7:
                self._at += 2
            else:
                self._at += 2 + int.from_bytes(data[self._at + 2 : self._at + 4], "big")
                self._compressed = marker == _SOS

    def _next_start(self) -> int:
        """Where the next image seems to begin; 0 if nowhere."""
        found = _STARTS.search(self._data, 1)
        return 0 if found is None else found.start()

    def _drop(self, count: int) -> None:
        self.skipped += count
        self._forget(count)

    def _forget(self, count: int) -> None:
        del self._data[:count]
        self._at, self._compressed = 0, False
