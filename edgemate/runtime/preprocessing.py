"""From an image to the tensor the network was trained on, as the manifest's input contract says.

Pillow and numpy alone, and yet the arithmetic of torchvision's v2 transforms on a PIL image (Resize, CenterCrop,
PILToTensor, ToDtype with scale, Normalize), step by step.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from edgemate.bundle import InputContract, Resize
from edgemate.errors import ImageError
from edgemate.images import decode

Array = npt.NDArray[Any]
ImageInput: TypeAlias = "str | os.PathLike[str] | Image.Image | Array"

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# A sliver of a few rows grows with its shorter side; beyond this it is no image, or an attack on the memory.
_MAX_PIXELS = 1 << 27


class Preprocessor:
    """Makes ready batches of images, float32 `(N, channels, height, width)`.

    An image is a path, a PIL image, a uint8 array `(H, W)` or `(H, W, C)`, or a float32 array `(channels, height,
    width)` that is ready already. Files and PIL images are decoded by `edgemate.images.decode`, as in training. The
    channels of an array are RGB; OpenCV's are BGR, and `cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)` turns them around. A
    fourth channel is dropped.
    """

    def __init__(self, contract: InputContract) -> None:
        self._contract = contract
        # torchvision multiplies by the rounded reciprocal; dividing would differ in the last bit.
        self._scale = np.float32(1 / contract.divisor)
        self._mean = np.array(contract.mean, dtype=np.float32)[:, None, None]
        self._std = np.array(contract.std, dtype=np.float32)[:, None, None]

    def prepare(self, image: ImageInput) -> Array:
        """One image as float32 `(channels, height, width)`.

        Raises:
            ImageError: it cannot be read, or an array has another shape or dtype than those above.
        """
        if isinstance(image, np.ndarray):
            if image.dtype == np.float32:
                return self._checked(image, "float32 array")
            return self._from_image(_image_of_array(image), f"uint8 array {image.shape}")
        if isinstance(image, Image.Image):
            return self._from_image(image, "PIL image")
        if isinstance(image, (str, os.PathLike)):
            return self._from_image(image, os.fspath(image))
        raise ImageError(
            f"{type(image).__name__} is no image; give a path, a PIL image, a uint8 array (H, W, C) or a ready "
            f"float32 array"
        )

    def batches(self, images: ImageInput | Sequence[ImageInput], size: int) -> Iterator[Array]:
        """One image, a list of them, or a ready float32 array `(N, channels, height, width)`, `size` at a time.

        Raises:
            ImageError: as `prepare`; earlier batches have been given by then.
        """
        if isinstance(images, np.ndarray) and images.ndim == 4 and images.dtype == np.float32:
            for start in range(0, len(images), size):
                batch = np.ascontiguousarray(images[start : start + size])
                self._checked(batch[0], "float32 array")
                yield batch
        elif isinstance(images, (list, tuple)):
            for start in range(0, len(images), size):
                yield np.stack([self.prepare(image) for image in images[start : start + size]])
        else:
            yield self.prepare(images)[None]  # type: ignore[arg-type]

    def _from_image(self, given: str | os.PathLike[str] | Image.Image, name: str) -> Array:
        contract = self._contract
        image = decode(given, contract.channels, name)
        if contract.resize is not None:
            image = _resized(image, contract.resize, name)
        if contract.center_crop is not None:
            image = _center_cropped(image, contract.center_crop)
        pixels = np.asarray(image)
        planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        self._checked(planes, name)
        # From here on in place: one float32 array per image.
        ready = np.ascontiguousarray(planes, dtype=np.float32)
        ready *= self._scale
        ready -= self._mean
        ready /= self._std
        return ready

    def _checked(self, array: Array, name: str) -> Array:
        expected = self._contract.shape(1)[1:]
        if array.shape != expected:
            raise ImageError(f"{name}: prepared it is {array.shape}; the network takes {expected}")
        return array


def _image_of_array(array: Array) -> Image.Image:
    if array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise ImageError(
            f"{array.dtype} array {array.shape} is no image; give uint8 (H, W) or (H, W, C), or ready float32 "
            f"(channels, height, width)"
        )
    if not array.size:
        raise ImageError(f"uint8 array {array.shape} has no pixels")
    return Image.fromarray(array)


def _resized(image: Image.Image, resize: Resize, name: str) -> Image.Image:
    if isinstance(resize.size, tuple):
        height, width = resize.size
    else:
        width, height = image.size
        short, long = min(width, height), max(width, height)
        longer = int(resize.size * long / short)
        width, height = (resize.size, longer) if width <= height else (longer, resize.size)
    if (width, height) == image.size:
        return image
    if width * height > _MAX_PIXELS:
        raise ImageError(f"{name}: {image.width}x{image.height} would become {width}x{height}, which is too large")
    return image.resize((width, height), _RESAMPLING[resize.interpolation])


def _center_cropped(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The middle of the image; where it is smaller than the crop, black is added around it first."""
    height, width = size
    missing_width, missing_height = max(width - image.width, 0), max(height - image.height, 0)
    if missing_width or missing_height:
        left, top = missing_width // 2, missing_height // 2
        image = ImageOps.expand(image, (left, top, missing_width - left, missing_height - top))
    left = round((image.width - width) / 2)
    top = round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))
