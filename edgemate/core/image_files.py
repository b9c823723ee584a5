"""Checking and decoding image files, in training and on the device alike, so that both see the same pixels.

docs/images.md describes how each kind of image is decoded.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from edgemate.errors import ImageError
from edgemate.limits import IMAGE_PIXELS, IMAGE_SIDE

_SIXTEEN_BITS = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
# Formats that Pillow opens in mode I although the file has 16 bits: PGM, and PNG before Pillow 10.
_SIXTEEN_BITS_IN_I = frozenset({"PNG", "PPM"})
_ORIENTATION, _BITS_PER_SAMPLE, _PHOTOMETRIC = 274, 258, 262
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Orientations after which what was the right or lower edge is the left or the upper one.
_MIRRORED_X, _MIRRORED_Y = frozenset({2, 3, 6, 7}), frozenset({3, 4, 7, 8})
# What Pillow may try on a file, whatever its name says. It knows 50 formats more; one of them runs Ghostscript.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# Pillow itself finds a truncated WebP file when it opens it.
_LAST_BYTES = {"GIF": b"\x3b", "JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82", "WEBP": b""}


def decode(image: str | os.PathLike[str] | Image.Image, channels: int, name: str = "PIL image") -> Image.Image:
    """Decode an image file or a PIL image to 8 bits per channel, upright.

    - The EXIF orientation is applied.
    - Color is converted to gray by the ITU-R 601 luma of its RGB values, however the colors were stored.
    - 16 bits are converted to 8 by their high byte, as Pillow does for 16-bit RGB in all versions, so a 16-bit gray
      file and the same file in RGB agree. 32-bit integers and floats have no known range and are an error.
    - Alpha is dropped, as in torchvision, OpenCV and TensorFlow: no background color has to be chosen, pretrained
      weights saw the same, and the padding byte of a four-channel camera cannot blank the image.
    - Of an animation or a file with several pages the first frame is used, of an opened PIL image the current one.
    - ICC profiles are ignored: values are assumed to be sRGB.

    Args:
        image: a path, or a PIL image, which is not changed.
        channels: 1 for gray, 3 for RGB (not BGR).
        name: of a PIL image in messages; a file is named by its path.

    Returns:
        A new image of mode L or RGB, without metadata.

    Raises:
        ImageError: it cannot be read, has no pixels or has no known range.
    """
    return decode_reduced(image, channels, lambda size: None, name).image


Size = tuple[int, int]


class Reduced(NamedTuple):
    """A decoded image, which may be smaller than the one in the file.

    Attributes:
        image: of mode L or RGB, upright.
        size: (width, height) of the whole image in the file, upright.
        box: (left, upper, right, lower) of that in pixels of `image`, whose last row and column may be part of a pixel.
    """

    image: Image.Image
    size: Size
    box: tuple[float, float, float, float]


def decode_reduced(
    image: str | os.PathLike[str] | Image.Image,
    channels: int,
    least: Callable[[Size], Size | None],
    name: str = "PIL image",
) -> Reduced:
    """As `decode`, but a JPEG file is decoded at a half, a quarter or an eighth where that is large enough.

    libjpeg then computes fewer values of each block; the pixels are close to, but not those of a box filter.

    Args:
        image: as for `decode`; a PIL image is never reduced, as it is not changed.
        channels: as for `decode`.
        least: from the (width, height) in the file, upright, to the smallest one that will do; None for no reduction.
        name: as for `decode`.

    Raises:
        ImageError: as `decode`.
    """
    if isinstance(image, Image.Image):
        return _guarded(image, channels, name, lambda size: None)
    name = os.fspath(image)
    try:
        _require_regular(image)
        opened = Image.open(image, formats=_FORMATS)
    except Exception as error:  # a damaged file can make Pillow raise almost anything
        raise _problem(name, error) from error
    with opened:
        return _guarded(opened, channels, name, least)


@dataclass(frozen=True)
class Header:
    """Metadata of an image file.

    Attributes:
        format: Pillow's name for it, such as JPEG.
        mode: Pillow's name for how its pixels are stored, such as RGB or I;16.
        alpha: the image has transparency, which decoding drops.
    """

    format: str
    mode: str
    alpha: bool


def read_header(path: Path) -> Header:
    """Read a file's header without decoding it. Raises ImageError if Pillow does not recognize it as an image.

    Pillow itself refuses a width or height of 0.
    """
    return _header_and_end(path)[0]


def check_file(path: Path) -> None:
    """Check an image file for damage without decoding it, as far as possible.

    Its header is read. JPEG, PNG and GIF files that do not end with their format's last bytes, which are most truncated
    files and few others, are decoded; so are BMP, TIFF, PGM and PPM files, which have no such end and decode fast.
    Damage within a JPEG, PNG, GIF or WebP file is not detected.

    Raises:
        ImageError: it is damaged, missing, not an image, or its values have no known range.
    """
    header, end = _header_and_end(path)
    last = _LAST_BYTES.get(header.format)
    if last is None or not end.endswith(last):
        decode(path, 3)


def _header_and_end(path: Path) -> tuple[Header, bytes]:
    try:
        _require_regular(path)
        with path.open("rb") as file, Image.open(file, formats=_FORMATS) as image:
            _check_size(image.size, str(path))
            alpha = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
            header = Header(image.format or "?", image.mode, alpha)
            file.seek(-min(8, file.seek(0, os.SEEK_END)), os.SEEK_END)
            return header, file.read()
    except ImageError:
        raise
    except Exception as error:  # as in decode
        raise _problem(str(path), error) from error


def _require_regular(path: str | os.PathLike[str]) -> None:
    """Raise OSError for a pipe or a device: opening one waits for a writer that may never come."""
    mode = Path(path).stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a folder has an error of its own
        raise OSError("not a regular file, but a pipe, a socket or a device")


def _guarded(image: Image.Image, channels: int, name: str, least: Callable[[Size], Size | None]) -> Reduced:
    try:
        return _decoded(image, "L" if channels == 1 else "RGB", name, least)
    except ImageError:
        raise
    except Exception as error:  # as in decode
        raise _problem(name, error) from error


def _decoded(image: Image.Image, mode: str, name: str, least: Callable[[Size], Size | None]) -> Reduced:
    if 0 in image.size:
        raise ImageError(f"{name}: has no pixels ({image.width} × {image.height})")
    _check_size(image.size, name)
    size: Size = image.size
    drafted = _draft(image, least) if image.format in ("JPEG", "MPO") else None
    image.load()
    if drafted is None:  # only now: loading turns TIFF files
        size = image.size
    width, height = drafted or size
    orientation = _orientation(image)
    turn = _UPRIGHT.get(orientation)
    plain = _eight_bits(image, name)
    if turn is not None:
        plain = plain.transpose(turn)
    # `_eight_bits` has made a new image: the caller may change the given one, and its file is closed afterwards.
    ready = plain if plain.mode == mode else plain.convert(mode)
    ready.info.clear()  # an orientation that was applied must not be applied again
    if orientation > 4:
        size, width, height = size[::-1], height, width
    left = ready.width - width if orientation in _MIRRORED_X else 0.0
    upper = ready.height - height if orientation in _MIRRORED_Y else 0.0
    return Reduced(ready, size, (left, upper, left + width, upper + height))


def _draft(image: Image.Image, least: Callable[[Size], Size | None]) -> tuple[float, float] | None:
    """Let a JPEG file be decoded smaller; (width, height) of the whole image in pixels of that, or None."""
    turned = _orientation(image) > 4
    wanted = least(image.size[::-1] if turned else image.size)
    drafted = None if wanted is None else image.draft(image.mode, wanted[::-1] if turned else wanted)
    return None if drafted is None else drafted[1][2:]


def _check_size(size: tuple[int, int], name: str) -> None:
    """Raise ImageError where an image of this (width, height) is beyond the limits. Nothing is decoded before."""
    width, height = size
    if max(size) > IMAGE_SIDE.most:
        raise ImageError(f"{name}: has {width} × {height} pixels; the limit is {IMAGE_SIDE.most:,} a side")
    if width * height > IMAGE_PIXELS.most:
        raise ImageError(f"{name}: has {width} × {height} pixels; the limit is {IMAGE_PIXELS.most:,} in all")


def _orientation(image: Image.Image) -> int:
    if hasattr(image, "tag_v2"):  # Pillow turns TIFF files upright when it loads them
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged metadata does not mean damaged pixels
        return 1


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """The image in mode L if it is gray, else in mode RGB."""
    mode = image.mode
    if mode in _SIXTEEN_BITS or (mode == "I" and image.format in _SIXTEEN_BITS_IN_I):
        return _high_bytes(image)
    if mode[0] in "IF":
        kind = "floats" if mode == "F" else "signed integers or integers of more than 16 bits"
        raise ImageError(f"{name}: has {kind} (mode {mode}), whose range is unknown; save it with 8 or 16 bits")
    if "transparency" in image.info:  # dropped anyway; converting a palette with it warns
        image = image.copy()
        del image.info["transparency"]
    if mode in ("La", "RGBa"):
        image = image.convert(mode.upper())
    return image.convert("L" if mode in ("1", "L", "LA", "La") else "RGB")


def _high_bytes(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})  # a TIFF file's
    twelve = tuple(tags.get(_BITS_PER_SAMPLE, ())) == (12,)
    pixels = (values >> (4 if twelve else 8)).astype(np.uint8)
    # Pillow inverts 8-bit files that say that 0 is white, but not those of 16 bits.
    return Image.fromarray(255 - pixels if tags.get(_PHOTOMETRIC) == 0 else pixels)


def _problem(name: str, error: Exception) -> ImageError:
    if isinstance(error, FileNotFoundError):
        return ImageError(f"{name}: no such file")
    if isinstance(error, IsADirectoryError):
        return ImageError(f"{name}: is a folder, not an image")
    if isinstance(error, UnidentifiedImageError):
        return ImageError(f"{name}: is not an image that Pillow can read")
    reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return ImageError(f"{name}: cannot be decoded: {reason}")
