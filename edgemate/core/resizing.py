"""Resizing and cropping by PIL, in training and on the device alike.

The arithmetic is that of torchvision's v2 Resize and CenterCrop on PIL images.
"""

from __future__ import annotations

from PIL import Image, ImageOps

from edgemate.core.input_spec import Resize
from edgemate.errors import ImageError
from edgemate.limits import IMAGE_PIXELS

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def resize(image: Image.Image, rule: Resize, name: str = "image") -> Image.Image:
    """The image after `rule`; the same object where it has that size already.

    Args:
        image: of mode L or RGB.
        rule: mode, size and filter.
        name: what a message calls the image.

    Raises:
        ImageError: the result would have more than 2²⁶ pixels.
    """
    height, width = resized_size(image.height, image.width, rule)
    if (width, height) == image.size:
        return image
    require_small(image.size, rule, name)
    return image.resize((width, height), RESAMPLING[rule.interpolation])


def require_small(size: tuple[int, int], rule: Resize, name: str) -> None:
    """Raise ImageError where an image of this (width, height) would have more than 2²⁶ pixels after `rule`."""
    height, width = resized_size(size[1], size[0], rule)
    if width * height > IMAGE_PIXELS.most:
        raise ImageError(
            f"{name}: {size[0]}x{size[1]} would become {width}x{height}, which is too large; "
            f"the limit is {IMAGE_PIXELS.most:,} pixels"
        )


def resized_size(height: int, width: int, rule: Resize) -> tuple[int, int]:
    """(height, width) after `rule`, in pixels. The longer side is rounded down."""
    if isinstance(rule.size, tuple):
        return rule.size
    longer = int(rule.size * max(height, width) / min(height, width))
    return (longer, rule.size) if width <= height else (rule.size, longer)


def center_crop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The middle (height, width) of the image; a smaller image is padded with black first."""
    height, width = size
    missing_width, missing_height = max(width - image.width, 0), max(height - image.height, 0)
    if missing_width or missing_height:
        left, top = missing_width // 2, missing_height // 2
        image = ImageOps.expand(image, (left, top, missing_width - left, missing_height - top))
    left = round((image.width - width) / 2)
    top = round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))
