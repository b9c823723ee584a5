"""From an image to the network's input tensor, as the manifest's input specification says.

Pillow and numpy only, with the arithmetic of torchvision's v2 transforms on a PIL image (Resize, CenterCrop,
PILToTensor, ToDtype with scale, Normalize), step by step.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgemate.bundle import InputContract
from edgemate.core.image_files import decode
from edgemate.core.resizing import center_crop, resize
from edgemate.errors import ImageError

Array = npt.NDArray[Any]
ImageInput: TypeAlias = "str | os.PathLike[str] | Image.Image | Array"


class Preprocessor:
    """Turns images into batches of the network's input, float32 `(N, channels, height, width)`.

    An image is a path, a PIL image, a uint8 array `(H, W)` or `(H, W, C)`, or a preprocessed float32 array
    `(channels, height, width)`. Files and PIL images are decoded by `edgemate.core.image_files.decode`, as in training.
    Arrays are RGB; `cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)` converts OpenCV's BGR. A fourth channel is dropped.
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
            f"{type(image).__name__} is not an image; give a path, a PIL image, a uint8 array (H, W, C) or a "
            f"preprocessed float32 array"
        )

    def batches(self, images: ImageInput | Sequence[ImageInput], size: int) -> Iterator[Array]:
        """One image, a list of them, or a preprocessed float32 array `(N, channels, height, width)`, `size` at a time.

        Raises:
            ImageError: as `prepare`; earlier batches have been yielded by then.
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
            image = resize(image, contract.resize, name)
        if contract.center_crop is not None:
            image = center_crop(image, contract.center_crop)
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
            raise ImageError(f"{name}: its shape after preprocessing is {array.shape}; the network takes {expected}")
        return array


def _image_of_array(array: Array) -> Image.Image:
    if array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise ImageError(
            f"{array.dtype} array {array.shape} is not an image; give uint8 (H, W) or (H, W, C), or float32 "
            f"(channels, height, width)"
        )
    if not array.size:
        raise ImageError(f"uint8 array {array.shape} has no pixels")
    return Image.fromarray(array)
