"""Images that would exhaust memory or time are refused by their header."""

from __future__ import annotations

import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgemate.core.image_files import check_file, decode, read_header
from edgemate.core.input_spec import Resize
from edgemate.core.resizing import resize
from edgemate.errors import ImageError


def png(path: Path, width: int, height: int) -> Path:
    """A PNG file whose header says this, and whose pixels are missing."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 100)
    chunks = b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (header, data)
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks + b"\0\0\0\0IEND\xaeB`\x82")
    return path


@pytest.mark.parametrize(
    ("width", "height", "limit"),
    [
        (1, 3_000_000, "65,536 a side"),
        (3_000_000, 1, "65,536 a side"),
        (65_537, 1, "65,536 a side"),
        (8_193, 8_192, "67,108,864 in all"),
        (65_536, 1_025, "67,108,864 in all"),
    ],
)
def test_a_header_is_enough(tmp_path: Path, width: int, height: int, limit: str) -> None:
    path = png(tmp_path / "large.png", width, height)
    started = time.process_time()
    for use in (read_header, check_file, lambda path: decode(path, 3)):
        with pytest.raises(ImageError) as caught:
            use(path)
        assert str(caught.value) == f"{path}: has {width} × {height} pixels; the limit is {limit}"
    assert time.process_time() - started < 1


def test_an_image_in_memory_has_the_same_limits() -> None:
    with pytest.raises(ImageError, match="the limit is 65,536 a side"):
        decode(Image.new("L", (1, 70_000)), 3)


@pytest.mark.parametrize("size", [(1, 65_536), (65_536, 1)])
@pytest.mark.parametrize("rule", [Resize(mode="stretch", size=(224, 224)), Resize(mode="shorter_side", size=224)])
def test_the_longest_lines_are_resized_or_refused_at_once(tmp_path: Path, size: tuple[int, int], rule: Resize) -> None:
    Image.new("RGB", size).save(tmp_path / "line.png")
    started = time.process_time()
    image = decode(tmp_path / "line.png", 3)
    if rule.mode == "stretch":
        assert resize(image, rule).size == (224, 224)
    else:
        with pytest.raises(ImageError, match="the limit is 67,108,864 pixels"):
            resize(image, rule)
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", b"SIMPLE  =" + b" " * 3000]
)
def test_formats_that_are_no_photographs_are_not_even_tried(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match="is not an image that Pillow can read"):
        decode(path, 3)


def test_decoding_still_copies(tmp_path: Path) -> None:
    given = Image.fromarray(np.full((4, 4, 3), 7, np.uint8))
    made = decode(given, 3)
    made.putpixel((0, 0), (9, 9, 9))
    assert given.getpixel((0, 0)) == (7, 7, 7)
