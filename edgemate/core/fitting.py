"""Resize and crop of large images in one step, for the device.

The reference is `core/resizing.py`: the whole image at full size, resized, then cropped, as in training. Where an image
has at least 2¹⁸ pixels and is more than twice as large as it is to become, most of that work can be left out:

- only what the crop keeps is resized;
- a JPEG file is decoded at a half, a quarter or an eighth (`decode_reduced`), and pixels are averaged by whole numbers
  (PIL's `reducing_gap`), as long as what is left is twice as large as the result.

The result is close to the reference, not equal: docs/images.md states by how much. Any other image gets the
reference's pixels.
"""

from __future__ import annotations

import math

from PIL import Image

from edgemate.core.input_spec import InputSpec
from edgemate.core.resizing import RESAMPLING, center_crop, require_small, resize, resized_size

Size = tuple[int, int]
Box = tuple[float, float, float, float]

GAP = 2.0
"""How many times the result an image stays, in width and height, when it is reduced before the resize."""

PIXELS = 1 << 18
"""Pixels from which on an image is worth it; a smaller one takes about a millisecond."""

# How many pixels of the result a filter reaches to either side.
_REACH = {"bilinear": 1, "bicubic": 2, "lanczos": 3}


def least_size(size: Size, spec: InputSpec) -> Size | None:
    """(width, height) that an image of this (width, height) may be reduced to before `fit`; None where it may not."""
    if not _is_large(size, spec):
        return None
    width, height = _resized(size, spec)
    return math.ceil(GAP * width), math.ceil(GAP * height)


def needed(size: Size, spec: InputSpec) -> tuple[int, int, int, int]:
    """(left, upper, right, lower) of the pixels of an image that `fit` reads, at least."""
    whole = (0, 0, *size)
    if not _is_large(size, spec) or spec.resize is None:
        return whole
    kept = _kept(size, (0.0, 0.0, float(size[0]), float(size[1])), spec)
    if kept is None:
        return whole
    margins = [
        math.ceil((_REACH[spec.resize.interpolation] + 1) * full / resized) + 1
        for full, resized in zip(size, _resized(size, spec), strict=True)
    ]
    return (
        max(math.floor(kept[0]) - margins[0], 0),
        max(math.floor(kept[1]) - margins[1], 0),
        min(math.ceil(kept[2]) + margins[0], size[0]),
        min(math.ceil(kept[3]) + margins[1], size[1]),
    )


def fit(
    image: Image.Image, spec: InputSpec, name: str, size: Size | None = None, box: Box | None = None
) -> Image.Image:
    """The image after the resize and the crop of `spec`.

    Args:
        image: of mode L or RGB: the whole image, one that was reduced, or a part with at least what is `needed`.
        spec: says how.
        name: what a message calls the image.
        size: (width, height) of the whole image before it was reduced; that of `image` if None.
        box: where the whole image is in pixels of `image`; parts of it may be outside. All of `image` if None.

    Raises:
        ImageError: the resize would make more than 2²⁶ pixels.
    """
    size = size or image.size
    box = box or (0.0, 0.0, float(image.width), float(image.height))
    if spec.resize is not None:
        require_small(size, spec.resize, name)
    if spec.resize is None or not _is_large(size, spec):
        if spec.resize is not None:
            image = resize(image, spec.resize, name)
        return image if spec.center_crop is None else center_crop(image, spec.center_crop)
    kept = _kept(size, box, spec)
    method = RESAMPLING[spec.resize.interpolation]
    if kept is None:  # the crop pads
        resized = image.resize(_resized(size, spec), method, _inside(box, image), GAP)
        return resized if spec.center_crop is None else center_crop(resized, spec.center_crop)
    height, width = spec.center_crop or _resized(size, spec)[::-1]
    return image.resize((width, height), method, _inside(kept, image), GAP)


def _is_large(size: Size, spec: InputSpec) -> bool:
    """Whether an image has many pixels, and is more than `GAP` times as large as it is to become in both directions."""
    if spec.resize is None or spec.resize.interpolation == "nearest":  # which averages nothing
        return False
    if size[0] * size[1] < PIXELS:
        return False
    width, height = _resized(size, spec)
    return min(size[0] / width, size[1] / height) > GAP


def _resized(size: Size, spec: InputSpec) -> Size:
    assert spec.resize is not None
    height, width = resized_size(size[1], size[0], spec.resize)
    return width, height


def _kept(size: Size, box: Box, spec: InputSpec) -> Box | None:
    """The part of `box` that the crop keeps; None where the crop is larger than the resized image."""
    width, height = _resized(size, spec)
    crop_height, crop_width = spec.center_crop or (height, width)
    if crop_width > width or crop_height > height:
        return None
    across, down = (box[2] - box[0]) / width, (box[3] - box[1]) / height
    left, upper = box[0] + across * round((width - crop_width) / 2), box[1] + down * round((height - crop_height) / 2)
    return left, upper, left + across * crop_width, upper + down * crop_height


def _inside(box: Box, image: Image.Image) -> Box:
    """The box without what rounding has put outside of the image, which PIL refuses."""
    return max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(image.width)), min(box[3], float(image.height))
