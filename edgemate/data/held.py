"""Image files that are decoded once and kept in memory, so that every epoch after the first reads no file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgemate.core.input_spec import InputSpec
from edgemate.data.source import FileImages, Images
from edgemate.data.transforms import fitted
from edgemate.progress import SILENT, Progress

Indices = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]
_SAMPLED = 256
"""Files whose size is read to estimate the memory that all of them take."""
_WINDOW = 512
"""Files decoded between two reports of progress."""


@dataclass(frozen=True, eq=False)
class HeldImages:
    """Images of a dataset, some of them decoded; the others are read from their files as before.

    Attributes:
        files: the images that they were.
        pixels: index → uint8 (H, W) for gray or (H, W, 3), of those that are held.
    """

    files: FileImages
    pixels: dict[int, Pixels]
    array: None = field(default=None, init=False)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class indices, int64 (N,)."""
        return self.files.labels

    @property
    def paths(self) -> Sequence[Path]:
        """One file per image."""
        return self.files.paths

    @property
    def channels(self) -> Literal[1, 3]:
        """1 for gray, 3 for RGB."""
        return self.files.channels

    def __len__(self) -> int:
        return len(self.files)

    def image(self, index: int) -> Image.Image:
        """One image, of mode L or RGB. Raises ImageError where a file that is not held cannot be read."""
        held = self.pixels.get(index)
        return self.files.image(index) if held is None else Image.fromarray(held)


def hold(images: FileImages, indices: Indices, progress: Progress = SILENT) -> HeldImages:
    """Decode the images at `indices`, int64 (n,), each once. Raises ImageError where one cannot be read."""
    chosen = np.unique(indices).tolist()
    return HeldImages(images, dict(zip(chosen, _decoded(images, chosen, None, progress), strict=True)))


def fitted_array(images: Images, indices: Indices, spec: InputSpec, progress: Progress = SILENT) -> Pixels:
    """The images at `indices` at the network's input size: uint8 (n, H, W, C). Raises ImageError likewise."""
    result = np.empty((len(indices), spec.height, spec.width, spec.channels), np.uint8)
    for place, pixels in enumerate(_decoded(images, indices.tolist(), spec, progress)):
        result[place] = pixels.reshape(result.shape[1:])
    return result


def held_bytes(images: FileImages, indices: Indices) -> int:
    """About how many bytes the decoded images at `indices` take, from the sizes of a sample of the files."""
    if len(indices) == 0:
        return 0
    sample = indices[np.linspace(0, len(indices) - 1, min(_SAMPLED, len(indices))).astype(np.int64)]
    sizes = [_size(images, int(index)) for index in sample]
    return int(np.mean(sizes) * images.channels * len(indices))


def _size(images: FileImages, index: int) -> int:
    """Pixels of an image, from its header where that can be read."""
    try:
        with Image.open(images.paths[index]) as image:
            return int(image.width * image.height)
    except Exception:  # a damaged file is named when it is decoded
        return 0


def _decoded(images: Images, indices: Sequence[int], spec: InputSpec | None, progress: Progress) -> Iterator[Pixels]:
    """The pixels of images, in order; Pillow decodes without Python's lock, so threads share the work."""

    def decode(index: int) -> Pixels:
        return np.asarray(images.image(index) if spec is None else fitted(images, index, spec))

    progress.step("decoding the images into memory, image")
    waiting, done = iter(indices), 0
    with ThreadPoolExecutor() as pool:
        while window := list(islice(waiting, _WINDOW)):  # so that Ctrl-C does not wait for the rest
            yield from pool.map(decode, window)
            done += len(window)
            progress.advance(done, len(indices))
