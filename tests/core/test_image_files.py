from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from PIL import Image

from edgemate.bundle import InputContract
from edgemate.core.image_files import check_file, decode, read_header
from edgemate.data.source import FileImages
from edgemate.errors import ImageError
from edgemate.runtime import Preprocessor

GRAY = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOR = np.dstack([GRAY, GRAY.T, 255 - GRAY])
# Every high byte, each with another low byte: rounding instead of taking the high byte would show.
SIXTEEN = (GRAY.astype(np.uint16) << 8) | GRAY[::-1]
PLAIN = InputContract(channels=3, height=16, width=16, mean=(0, 0, 0), std=(1, 1, 1))
PLAIN_GRAY = InputContract(channels=1, height=16, width=16, mean=(0,), std=(1,))


def rgb(values: Any) -> Any:
    return np.dstack([values] * 3)


def image(pixels: Any, mode: str) -> Image.Image:
    """Raw pixels as a PIL image of exactly that mode."""
    return Image.frombytes(mode, (16, 16), np.ascontiguousarray(pixels).tobytes())


def saved(image: Image.Image, **options: Any) -> Callable[[Path], None]:
    return lambda path: image.save(path, **options)


def written(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


def png(values: Any, kind: int) -> bytes:
    """A PNG of 16 bits per channel, which Pillow writes for gray only."""
    height, width = values.shape[:2]

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(data: bytes, bits: int, order: str = "<", photometric: int = 1) -> bytes:
    """A gray TIFF, 16 × 16, of one uncompressed strip."""
    tags = [(256, 16), (257, 16), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, 16)]
    tags.append((279, len(data)))
    entries = b"".join(struct.pack(order + "HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    directory = struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", 0)
    start = b"II" if order == "<" else b"MM"
    return start + struct.pack(order + "HI", 42, 8 + len(data)) + data + directory


def netpbm(values: Any, kind: int, highest: int) -> bytes:
    return b"P%d 16 16 %d\n" % (kind, highest) + values.astype(">u2").tobytes()


def twelve_bits(values: Any) -> bytes:
    pairs = values.reshape(-1, 2).astype(int)
    packed = (pairs[:, 0] << 12) | pairs[:, 1]
    return np.stack([packed >> 16, packed >> 8 & 255, packed & 255], 1).astype(np.uint8).tobytes()


ALPHA = 255 - GRAY
TWO_VALUED = image(np.packbits(GRAY > 99, axis=1), "1")
TWO = np.where(GRAY > 99, np.uint8(255), np.uint8(0))
PALETTE = image(GRAY, "P")
PALETTE.putpalette(COLOR.tobytes())
CMYK = np.dstack([255 - COLOR, np.zeros_like(GRAY)])
GRAY_ALPHA, COLOR_ALPHA = np.dstack([GRAY, ALPHA]), np.dstack([COLOR, ALPHA])
SIXTEEN_COLOR = np.dstack([SIXTEEN, SIXTEEN.T, 65535 - SIXTEEN])
SIXTEEN_COLOR_BYTES = np.dstack([GRAY, GRAY.T, 255 - GRAY])

SIX = Image.Exif()
SIX[0x0112] = 6
TURNED = np.ascontiguousarray(np.rot90(COLOR))  # which orientation 6 turns back
MOVING: dict[str, Any] = {"save_all": True, "append_images": [image(255 - GRAY, "L")]}
MOVING_COLOR: dict[str, Any] = {"save_all": True, "append_images": [image(255 - COLOR, "RGB")]}

# Suffix, what writes the file, the RGB values that must come of it, and how far JPEG may be off.
FILES: dict[str, tuple[str, Callable[[Path], None], Any, int]] = {
    **{f"1 {s}": (s, saved(TWO_VALUED), rgb(TWO), 0) for s in ("png", "tiff", "bmp", "gif", "pgm")},
    **{f"L {s}": (s, saved(image(GRAY, "L")), rgb(GRAY), 0) for s in ("png", "tiff", "bmp", "gif", "pgm")},
    "L webp": ("webp", saved(image(GRAY, "L"), lossless=True), rgb(GRAY), 0),
    "L jpeg": ("jpeg", saved(image(GRAY, "L"), quality=100), rgb(GRAY), 3),
    **{f"LA {s}": (s, saved(image(GRAY_ALPHA, "LA")), rgb(GRAY), 0) for s in ("png", "tiff")},
    **{f"P {s}": (s, saved(PALETTE), COLOR, 0) for s in ("png", "tiff", "bmp", "gif")},
    "P transparent png": ("png", saved(PALETTE, transparency=ALPHA.tobytes()), COLOR, 0),
    "P transparent gif": ("gif", saved(PALETTE, transparency=7), COLOR, 0),
    "L transparent png": ("png", saved(image(GRAY, "L"), transparency=9), rgb(GRAY), 0),
    "RGB transparent png": ("png", saved(image(COLOR, "RGB"), transparency=(0, 0, 255)), COLOR, 0),
    **{f"RGB {s}": (s, saved(image(COLOR, "RGB")), COLOR, 0) for s in ("png", "tiff", "bmp", "ppm")},
    "RGB webp": ("webp", saved(image(COLOR, "RGB"), lossless=True), COLOR, 0),
    "RGB jpeg": ("jpeg", saved(image(COLOR, "RGB"), quality=100, subsampling=0), COLOR, 4),
    **{f"RGBA {s}": (s, saved(image(COLOR_ALPHA, "RGBA")), COLOR, 0) for s in ("png", "tiff")},
    "RGBA webp": ("webp", saved(image(COLOR_ALPHA, "RGBA"), lossless=True, exact=True), COLOR, 0),
    "CMYK tiff": ("tiff", saved(image(CMYK, "CMYK")), COLOR, 0),
    "CMYK jpeg": ("jpeg", saved(image(CMYK, "CMYK"), quality=100, subsampling=0), COLOR, 4),
    "YCbCr jpeg": ("jpeg", saved(image(COLOR, "RGB").convert("YCbCr"), quality=100, subsampling=0), COLOR, 4),
    "I;16 png": ("png", written(png(SIXTEEN, 0)), rgb(GRAY), 0),
    "16 bits, gray and alpha, png": ("png", written(png(np.dstack([SIXTEEN, SIXTEEN]), 4)), rgb(GRAY), 0),
    "16 bits, RGB, png": ("png", written(png(SIXTEEN_COLOR, 2)), SIXTEEN_COLOR_BYTES, 0),
    "16 bits, RGBA, png": ("png", written(png(np.dstack([SIXTEEN_COLOR, SIXTEEN]), 6)), SIXTEEN_COLOR_BYTES, 0),
    "I;16 tiff": ("tiff", written(tiff(SIXTEEN.astype("<u2").tobytes(), 16)), rgb(GRAY), 0),
    "I;16B tiff": ("tiff", written(tiff(SIXTEEN.astype(">u2").tobytes(), 16, ">")), rgb(GRAY), 0),
    "I;16 tiff, 0 is white": (
        "tiff", written(tiff(SIXTEEN.astype("<u2").tobytes(), 16, photometric=0)), rgb(255 - GRAY), 0,
    ),
    "L tiff, 0 is white": ("tiff", written(tiff(GRAY.tobytes(), 8, photometric=0)), rgb(255 - GRAY), 0),
    "12 bits, tiff": ("tiff", written(tiff(twelve_bits(SIXTEEN >> 4), 12)), rgb(GRAY), 0),
    "16 bits, pgm": ("pgm", written(netpbm(SIXTEEN, 5, 65535)), rgb(GRAY), 0),
    "12 bits, pgm": ("pgm", written(netpbm((GRAY.astype(int) * 4095 + 127) // 255, 5, 4095)), rgb(GRAY), 1),
    **{f"EXIF {s}": (s, saved(image(TURNED, "RGB"), exif=SIX), COLOR, 0) for s in ("png", "tiff")},
    "EXIF webp": ("webp", saved(image(TURNED, "RGB"), lossless=True, exif=SIX), COLOR, 0),
    "EXIF jpeg": ("jpeg", saved(image(TURNED, "RGB"), quality=100, subsampling=0, exif=SIX), COLOR, 4),
    **{f"animated {s}": (s, saved(image(GRAY, "L"), **MOVING), rgb(GRAY), 0) for s in ("gif", "png", "tiff")},
    "animated webp": ("webp", saved(image(COLOR, "RGB"), lossless=True, **MOVING_COLOR), COLOR, 0),
    "two images, mpo": ("jpg", saved(image(GRAY, "L"), format="MPO", quality=100, **MOVING), rgb(GRAY), 3),
    "16 bits, ppm": ("ppm", written(netpbm(SIXTEEN_COLOR, 6, 65535)), SIXTEEN_COLOR_BYTES, 1),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_a_file_gives_the_same_pixels_in_training_and_on_the_device_and_the_right_ones(
    tmp_path: Path, kind: str
) -> None:
    suffix, write, expected, off = FILES[kind]
    path = tmp_path / f"image.{suffix}"
    write(path)
    color = np.asarray(FileImages([path], np.zeros(1, np.int64), 3).image(0))
    assert np.abs(color.astype(int) - expected).max() <= off
    np.testing.assert_array_equal(device(PLAIN, path).transpose(1, 2, 0), color)
    gray = FileImages([path], np.zeros(1, np.int64), 1).image(0)
    np.testing.assert_array_equal(device(PLAIN_GRAY, path)[0], np.asarray(gray))
    np.testing.assert_array_equal(gray, Image.fromarray(color).convert("L"))
    check_file(path)
    with Image.open(path) as opened:
        np.testing.assert_array_equal(decode(opened, 3), color)


def device(contract: InputContract, image: Any) -> Any:
    return np.rint(Preprocessor(contract).prepare(image) * 255).astype(np.uint8)


PREMULTIPLIED = image(COLOR_ALPHA, "RGBA").convert("RGBa")
IN_MEMORY = {
    "RGBX": (image(COLOR_ALPHA, "RGBX"), COLOR, 0),
    "PA": (PALETTE.convert("PA"), COLOR, 0),
    "HSV": (image(COLOR, "RGB").convert("HSV"), COLOR, 6),
    "YCbCr": (image(COLOR, "RGB").convert("YCbCr"), COLOR, 3),
    "RGBa": (PREMULTIPLIED, np.asarray(PREMULTIPLIED.convert("RGBA"))[..., :3], 0),
    "La": (image(np.dstack([GRAY, np.full_like(GRAY, 255)]), "LA").convert("La"), rgb(GRAY), 0),
    "I;16": (image(SIXTEEN.astype("<u2"), "I;16"), rgb(GRAY), 0),
    "I;16L": (image(SIXTEEN.astype("<u2"), "I;16L"), rgb(GRAY), 0),
    "I;16B": (image(SIXTEEN.astype(">u2"), "I;16B"), rgb(GRAY), 0),
}


@pytest.mark.parametrize("mode", IN_MEMORY)
def test_an_image_in_memory_gives_the_right_pixels_and_stays_as_it_is(mode: str) -> None:
    image, expected, off = IN_MEMORY[mode]
    assert image.mode == mode
    before = image.tobytes()
    found = np.asarray(decode(image, 3))
    assert np.abs(found.astype(int) - expected).max() <= off
    assert np.array_equal(decode(image, 1), Image.fromarray(found).convert("L"))
    assert image.tobytes() == before


def test_lab_is_converted() -> None:
    gray = image(np.dstack([GRAY, np.zeros_like(GRAY), np.zeros_like(GRAY)]), "LAB")
    found = np.asarray(decode(gray, 3)).astype(int)
    assert found[0, 0].max() <= 1
    assert found[-1, -1].min() >= 254
    assert (np.ptp(found, axis=2) <= 3).all()


@pytest.mark.parametrize("mode", ["I", "F"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_unknown_range_are_refused_by_name(tmp_path: Path, mode: str, channels: int) -> None:
    image = Image.new(mode, (16, 16), 7)
    image.save(tmp_path / "depth.tiff")
    for given_one, name in ((image, "PIL image"), (tmp_path / "depth.tiff", str(tmp_path / "depth.tiff"))):
        with pytest.raises(ImageError) as caught:
            decode(given_one, channels)
        assert str(caught.value).startswith(f"{name}: has ")
        assert "\n" not in str(caught.value)


def test_a_16_bit_file_that_old_pillow_opens_in_mode_i_is_taken_for_16_bits() -> None:
    image = Image.fromarray(SIXTEEN.astype(np.int32))
    assert image.mode == "I"
    image.format = "PNG"
    np.testing.assert_array_equal(decode(image, 3), rgb(GRAY))


EXIF_WRITERS: dict[str, dict[str, Any]] = {
    "JPEG": {"format": "JPEG"},
    "PNG": {"format": "PNG"},
    "TIFF": {"format": "TIFF"},
    "LZW": {"format": "TIFF", "compression": "tiff_lzw"},
    "WEBP": {"format": "WEBP", "lossless": True},
}


@given(orientation=st.integers(1, 8), kind=st.sampled_from([*EXIF_WRITERS]), sixteen=st.booleans())
def test_every_exif_orientation_is_turned_upright(orientation: int, kind: str, sixteen: bool) -> None:
    corner = np.zeros((16, 32), np.uint8)
    corner[:8, :8] = 255  # the top left, once it is upright
    back = {
        1: corner,
        2: corner[:, ::-1],
        3: corner[::-1, ::-1],
        4: corner[::-1],
        5: corner.T,
        6: np.rot90(corner),
        7: np.rot90(corner, 2).T,
        8: np.rot90(corner, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(back))
    if sixteen and kind in ("PNG", "TIFF", "LZW"):
        stored = Image.fromarray(np.ascontiguousarray(back).astype(np.uint16) << 8)
    buffer = io.BytesIO()
    stored.save(buffer, exif=exif, **EXIF_WRITERS[kind])
    with Image.open(buffer) as opened:
        found = decode(opened, 1)
    np.testing.assert_array_equal(np.asarray(found) > 127, corner > 127)
    np.testing.assert_array_equal(decode(found, 1), found)  # upright already


def test_damaged_exif_data_is_ignored() -> None:
    buffer = io.BytesIO()
    image(COLOR, "RGB").save(buffer, "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    with Image.open(buffer) as opened:
        np.testing.assert_array_equal(decode(opened, 3), COLOR)


@pytest.mark.parametrize(("suffix", "options"), [("gif", {}), ("png", {}), ("webp", {"lossless": True}), ("tiff", {})])
def test_the_first_frame_is_the_image(tmp_path: Path, suffix: str, options: Any) -> None:
    path = tmp_path / f"moving.{suffix}"
    image(GRAY, "L").save(path, save_all=True, append_images=[image(255 - GRAY, "L")], **options)
    with Image.open(path) as opened:
        assert opened.n_frames == 2
    np.testing.assert_array_equal(decode(path, 1), GRAY)


def test_reading_raises_no_warning(tmp_path: Path) -> None:
    FILES["P transparent png"][1](tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode(tmp_path / "a.png", 1)


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(ImageError, match=r"PIL image: has no pixels \(0 × 5\)"):
        decode(Image.new("RGB", (0, 5)), 3)


@pytest.mark.parametrize("suffix", ["png", "jpeg", "gif", "webp", "bmp", "tiff", "ppm"])
def test_a_truncated_file_is_found_without_decoding_the_whole_ones(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut.{suffix}"
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    check_file(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ImageError, match="cut"):
        check_file(path)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_images_of_unknown_range_are_found_by_the_check_too(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (16, 16), 7).save(tmp_path / "depth.tiff")
    with pytest.raises(ImageError, match="whose range is unknown; save it with 8 or 16 bits"):
        check_file(tmp_path / "depth.tiff")


def test_bytes_after_the_end_of_a_whole_file_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "longer.jpg"
    image(COLOR, "RGB").save(path)
    path.write_bytes(path.read_bytes() + b"\0" * 40)
    check_file(path)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: path.write_text("no image"), "is not an image that Pillow can read"),
        (lambda path: path.write_bytes(b""), "is not an image that Pillow can read"),
        (lambda path: path.mkdir(), "is a folder, not an image"),
        (os.mkfifo, "cannot be decoded: not a regular file, but a pipe, a socket or a device"),  # reading would wait
        (lambda path: path.symlink_to(path), "cannot be decoded: Too many levels of symbolic links"),
        (lambda path: None, "no such file"),
    ],
)
def test_a_file_that_is_not_an_image_is_named(tmp_path: Path, spoil: Callable[[Path], Any], problem: str) -> None:
    path = tmp_path / "broken.png"
    spoil(path)
    for read in (lambda: decode(path, 3), lambda: check_file(path), lambda: read_header(path)):
        with pytest.raises(ImageError) as caught:
            read()
        assert str(caught.value) == f"{path}: {problem}"


@pytest.mark.parametrize(("kind", "alpha"), [("RGB png", False), ("RGBA png", True), ("P transparent png", True)])
def test_a_header_reports_transparency(tmp_path: Path, kind: str, alpha: bool) -> None:
    FILES[kind][1](tmp_path / "a.png")
    header = read_header(tmp_path / "a.png")
    assert (header.format, header.alpha) == ("PNG", alpha)
