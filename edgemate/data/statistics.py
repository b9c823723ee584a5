"""Mean and standard deviation of the training images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgemate.core.input_spec import InputSpec
from edgemate.data.seeding import Purpose, permutation
from edgemate.data.source import Images
from edgemate.data.transforms import fitted
from edgemate.errors import DataError

SAMPLE = 2_000
_CHUNK = 1_000


def channel_statistics(
    images: Images, indices: npt.NDArray[np.int64], spec: InputSpec, seed: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, of pixels scaled to [0, 1] and as the network sees them.

    Exact over all images if they are in memory at their final size; else over a seeded sample of at most 2,000,
    resized and cropped.

    Args:
        images: the dataset's training images.
        indices: of the training split, int64 (N,).
        spec: the steps before normalization.
        seed: of the sample.

    Raises:
        DataError: a channel is constant.
    """
    histogram = np.zeros((spec.channels, 256), dtype=np.int64)
    array = images.array
    if array is not None and spec.resize is None:
        for start in range(0, len(indices), _CHUNK):
            _count(histogram, array[indices[start : start + _CHUNK]])
    else:
        for i in indices[permutation(len(indices), Purpose.STATISTICS, seed)[:SAMPLE]]:
            pixels = np.asarray(fitted(images, int(i), spec))
            _count(histogram, pixels.reshape(spec.height, spec.width, spec.channels))
    levels = np.arange(256) / 255
    fractions = histogram / histogram.sum(axis=1, keepdims=True)
    mean = fractions @ levels
    std = np.sqrt((fractions * (levels - mean[:, None]) ** 2).sum(axis=1))
    if not std.all():
        raise DataError("a channel is constant over all training images; set data.mean and data.std")
    return tuple(round(float(x), 6) for x in mean), tuple(round(float(x), 6) for x in std)


def _count(histogram: npt.NDArray[np.int64], pixels: npt.NDArray[np.uint8]) -> None:
    for channel, counts in enumerate(histogram):
        counts += np.bincount(pixels[..., channel].ravel(), minlength=256)
