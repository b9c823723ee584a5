"""From an image to the tensor that the graphs take, as the manifest's input contract says.

Pillow and numpy only, with the arithmetic of torchvision's v2 transforms on a PIL image (Resize, CenterCrop,
PILToTensor, ToDtype with scale, Normalize), step by step. Images that are far larger than the network's input take
shorter steps (`core/fitting.py`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgemate.bundle import InputContract
from edgemate.core.fitting import fit, least_size, needed
from edgemate.core.image_files import Reduced, decode, decode_reduced
from edgemate.core.resizing import center_crop, resize
from edgemate.errors import ImageError

Array = npt.NDArray[Any]
ImageInput: TypeAlias = "str | os.PathLike[str] | Image.Image | Array"


class Prepared(NamedTuple):
    """One image as the graphs take it, and what that took.

    Attributes:
        array: float32 `(channels, height, width)`, or uint8 `(height, width, channels)` where the graphs take that.
        decode_ms: reading and decoding; 0 for an array.
        prepare_ms: resize, crop and, unless the graphs do it, normalization.
    """

    array: Array
    decode_ms: float
    prepare_ms: float


class Preprocessor:
    """Turns images into batches of what the graphs take, `(N, channels, height, width)`, or uint8 `(N, H, W, C)`.

    An image is a path, a PIL image, a uint8 array `(H, W)` or `(H, W, C)`, or a preprocessed float32 array
    `(channels, height, width)`. Files and PIL images are decoded as by `edgemate.core.image_files.decode`, in training
    too. Arrays are RGB; `cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)` converts OpenCV's BGR. A fourth channel is dropped.

    Where graphs take frames of one size (`InputContract.frame`), every image must have it, and an array of that size is
    passed as it is.

    Args:
        contract: of the bundle.
        exact: give images that are far larger than the network's input the same pixels as training does, too, which
            takes longer; docs/images.md says how much they differ otherwise.
    """

    def __init__(self, contract: InputContract, *, exact: bool = False) -> None:
        Image.preinit()  # which the first image would take the time for
        self._contract = contract
        self._exact = exact
        # torchvision multiplies by the rounded reciprocal; dividing would differ in the last bit.
        self._scale = np.float32(1 / contract.divisor)
        self._mean = np.array(contract.mean, dtype=np.float32)[:, None, None]
        self._std = np.array(contract.std, dtype=np.float32)[:, None, None]
        self._least = (lambda size: None) if exact or contract.frame else partial(least_size, spec=contract)

    def prepare(self, image: ImageInput) -> Array:
        """One image as `Prepared.array`.

        Raises:
            ImageError: it cannot be read, or an array has another shape or dtype than those above.
        """
        return self.timed(image).array

    def timed(self, image: ImageInput) -> Prepared:
        """One image, and how long it took to decode and to prepare it. Raises as `prepare`."""
        started = time.perf_counter_ns()
        if isinstance(image, np.ndarray):
            if image.dtype == np.float32 and self._contract.dtype == "float32":
                return Prepared(self._checked(image, "float32 array"), 0.0, 0.0)
            ready = self._finish(self._fit_array(image), f"uint8 array {image.shape}")
            return Prepared(ready, 0.0, _milliseconds(started, time.perf_counter_ns()))
        if isinstance(image, Image.Image):
            name = str(getattr(image, "filename", "")) or "PIL image"
        elif isinstance(image, (str, os.PathLike)):
            name = os.fspath(image)
        else:
            raise ImageError(
                f"{type(image).__name__} is not an image; give a path, a PIL image, a uint8 array (H, W, C) or a "
                f"preprocessed float32 array"
            )
        decoded = decode_reduced(image, self._contract.channels, self._least, name)
        read = time.perf_counter_ns()
        ready = self._finish(np.asarray(self._fit(decoded, name)), name)
        return Prepared(ready, _milliseconds(started, read), _milliseconds(read, time.perf_counter_ns()))

    def batches(self, images: ImageInput | Sequence[ImageInput], size: int) -> Iterator[Array]:
        """One image, a list of them, or an array of ready ones `(N, …)` of the graphs' dtype, `size` at a time.

        Raises:
            ImageError: as `prepare`; earlier batches have been yielded by then.
        """
        if isinstance(images, np.ndarray) and images.ndim == 4 and images.dtype == self._contract.dtype:
            for start in range(0, len(images), size):
                batch = np.ascontiguousarray(images[start : start + size])
                self._checked(batch[0], f"{images.dtype} array")
                yield batch
        elif isinstance(images, (list, tuple)):
            for start in range(0, len(images), size):
                yield np.stack([self.prepare(image) for image in images[start : start + size]])
        else:
            yield self.prepare(images)[None]  # type: ignore[arg-type]

    def _fit(self, decoded: Reduced, name: str) -> Image.Image:
        contract, image = self._contract, decoded.image
        if contract.frame is not None:
            return image
        if not self._exact:
            return fit(image, contract, name, decoded.size, decoded.box)
        if contract.resize is not None:
            image = resize(image, contract.resize, name)
        return image if contract.center_crop is None else center_crop(image, contract.center_crop)

    def _fit_array(self, array: Array) -> Array:
        """The pixels of a uint8 array `(H, W)` or `(H, W, C)` after resize and crop."""
        contract = self._contract
        _check_pixels(array)
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[:, :, 0]
        name = f"uint8 array {array.shape}"
        image, size = array, array.shape[1::-1]
        box = (0.0, 0.0, float(size[0]), float(size[1]))
        if not self._exact and contract.frame is None:
            # What the crop drops is not even copied.
            left, upper, right, lower = needed(size, contract)
            image = array[upper:lower, left:right]
            box = (float(-left), float(-upper), float(size[0] - left), float(size[1] - upper))
        channels = 1 if array.ndim == 2 else array.shape[2]
        if channels == contract.channels and (contract.frame is not None or _stays(contract)):
            return array
        plain = Image.fromarray(image)
        if channels != contract.channels:
            plain = decode(plain, contract.channels, name)
        return np.asarray(self._fit(Reduced(plain, size, box), name))

    def _finish(self, pixels: Array, name: str) -> Array:
        """What the graphs take, from uint8 `(H, W)` or `(H, W, C)` of the network's size."""
        if self._contract.dtype == "uint8":
            return self._checked(pixels[:, :, None] if pixels.ndim == 2 else pixels, name)
        planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        return self._normalized(self._checked(planes, name))

    def _normalized(self, planes: Array) -> Array:
        # From here on in place: one float32 array per image.
        ready = np.ascontiguousarray(planes, dtype=np.float32)
        ready *= self._scale
        ready -= self._mean
        ready /= self._std
        return ready

    def _checked(self, array: Array, name: str) -> Array:
        expected = self._contract.shape(1)[1:]
        if array.shape == expected:
            return array
        if self._contract.frame is None:
            raise ImageError(f"{name}: its shape after preprocessing is {array.shape}; the network takes {expected}")
        height, width, channels = expected
        raise ImageError(
            f"{name}: is {array.shape[1]}x{array.shape[0]}; this bundle takes {'gray' if channels == 1 else 'RGB'} "
            f"frames of {width}x{height} only; export one without a frame size for other images"
        )


def _stays(contract: InputContract) -> bool:
    """Whether an image of the network's size needs neither resize nor crop, as others cannot be used."""
    return contract.resize is None and contract.center_crop is None


def _check_pixels(array: Array) -> None:
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))):
        raise ImageError(
            f"{array.dtype} array {array.shape} is not an image; give uint8 (H, W) or (H, W, C), or float32 "
            f"(channels, height, width)"
        )
    if not array.size:
        raise ImageError(f"uint8 array {array.shape} has no pixels")


def _milliseconds(started: int, ended: int) -> float:
    return (ended - started) * 1e-6
