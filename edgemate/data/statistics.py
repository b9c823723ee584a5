"""Mean and standard deviation of the training pictures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgemate.data.input_facts import InputFacts
from edgemate.data.seeding import Purpose, permutation
from edgemate.data.source import Pictures
from edgemate.data.transforms import fit
from edgemate.errors import DataError

SAMPLE = 2_000
_CHUNK = 1_000


def channel_statistics(
    pictures: Pictures, indices: npt.NDArray[np.int64], facts: InputFacts, seed: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, of pixels scaled to [0, 1] and as the network sees them.

    Exact over all pictures where they lie in memory at their final size; else over a seeded sample of at most
    2,000, resized and cropped.

    Args:
        pictures: the pictures of the training split, among others.
        indices: which of them to look at: the training split's, so that nothing is learnt from the others.
        facts: the steps before normalisation.
        seed: draws the sample.

    Raises:
        DataError: a channel is constant.
    """
    histogram = np.zeros((facts.channels, 256), dtype=np.int64)
    array = pictures.array
    if array is not None and facts.resize is None:
        for start in range(0, len(indices), _CHUNK):
            _count(histogram, array[indices[start : start + _CHUNK]])
    else:
        for i in indices[permutation(len(indices), Purpose.STATISTICS, seed)[:SAMPLE]]:
            pixels = np.asarray(fit(pictures.picture(int(i)), facts))
            _count(histogram, pixels.reshape(facts.height, facts.width, facts.channels))
    levels = np.arange(256) / 255
    shares = histogram / histogram.sum(axis=1, keepdims=True)
    mean = shares @ levels
    std = np.sqrt((shares * (levels - mean[:, None]) ** 2).sum(axis=1))
    if not std.all():
        raise DataError("the training pictures are all of one colour in some channel; set data.mean and data.std")
    return tuple(round(float(x), 6) for x in mean), tuple(round(float(x), 6) for x in std)


def _count(histogram: npt.NDArray[np.int64], pixels: npt.NDArray[np.uint8]) -> None:
    for channel, counts in enumerate(histogram):
        counts += np.bincount(pixels[..., channel].ravel(), minlength=256)
