"""Training, calibration and test splits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgemate.config import Data
from edgemate.data.seeding import Purpose, permutation
from edgemate.data.source import DataSource
from edgemate.errors import DataError, UsageError

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Splits:
    """Sorted indices: `train` and `calibration` into `source.train`, disjoint; `test` into `source.test`."""

    train: Indices
    calibration: Indices
    test: Indices


def split(
    source: DataSource,
    calibration_fraction: float,
    seed: int,
    train_limit: int | None = None,
    calibration_limit: int | None = None,
    test_limit: int | None = None,
) -> Splits:
    """Take the dataset's own calibration split, or hold one out of the training images, by class and seeded.

    Args:
        source: the dataset. If it has a calibration split, the fraction and the seed do not change which images that
            split has.
        calibration_fraction: of the training images, to hold out; between 0 and 1.
        seed: not negative; the same seed gives the same splits on every machine.
        train_limit: largest size of the training split, which stays stratified. The other splits do not depend on it.
        calibration_limit: largest size of the calibration split; the images left out are not trained on.
        test_limit: largest size of the test split, see `tested_indices`.

    Raises:
        UsageError: a limit is not positive.
        DataError: no class has two images, or all images are of the dataset's calibration split.
    """
    labels = source.train.labels
    if source.calibration is None:
        train, calibration = hold_out(labels, calibration_fraction, Purpose.CALIBRATION_SPLIT, seed)
    else:
        calibration = source.calibration
        train = np.setdiff1d(np.arange(len(labels), dtype=np.int64), calibration, assume_unique=True)
        if len(train) == 0:
            raise DataError(f"dataset {source.name}: there are no training images besides the calibration split")
    if len(calibration) == 0:
        why = (
            "no class has two training images, so no calibration split can be held out; add images"
            if source.calibration is None
            else "its calibration split has no images; add some, or remove it to have one held out"
        )
        raise DataError(f"dataset {source.name}: {why}")
    return Splits(
        limited(labels, train, train_limit, seed),
        limited(labels, calibration, calibration_limit, seed, Purpose.CALIBRATION_LIMIT),
        tested_indices(source.test.labels, test_limit),
    )


def splits_of(section: Data, source: DataSource) -> Splits:
    """The splits of a recipe's data section. `train` includes a second domain's images if it is split off them."""
    return split(
        source,
        section.calibration_fraction,
        section.split_seed,
        section.train_limit,
        section.calibration_limit,
        section.test_limit,
    )


def tested_indices(labels: Indices, test_limit: int | None) -> Indices:
    """Sorted indices of the test split: all test images, or a stratified sample of `test_limit`.

    They depend on nothing else, so that a bundle finds them again, and runs with other seeds use the same images.
    """
    everything = np.arange(len(labels), dtype=np.int64)
    return limited(labels, everything, test_limit, 0, Purpose.TEST_LIMIT)


def limited(
    labels: Indices, indices: Indices, limit: int | None, seed: int, purpose: Purpose = Purpose.TRAIN_LIMIT
) -> Indices:
    """`indices`, or a stratified sample of `limit` of them. Raises UsageError if the limit is not positive."""
    if limit is None:
        return indices
    if limit < 1:
        raise UsageError(f"{purpose.name.lower()} is {limit}; it must be at least 1")
    order, _ = _by_class(labels[indices], purpose, seed)
    return np.sort(indices[order[:limit]])


def hold_out(labels: Indices, fraction: float, purpose: Purpose, seed: int) -> tuple[Indices, Indices]:
    """Split images in two, by class: a class of two images or more is in both parts, a class of one in the first.

    Args:
        labels: int64 (N,).
        fraction: of the images, for the second part; between 0 and 1. Its size is round(N × fraction), adjusted
            where the classes require it.
        purpose: of the split; part of the seed.
        seed: not negative.

    Returns:
        Sorted indices of the part kept and of the part held out, int64.

    Raises:
        UsageError: `fraction` is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"the fraction to hold out is {fraction:g}; it must be between 0 and 1")
    order, last = _by_class(labels, purpose, seed)
    candidates = order[~last]
    shared_classes = int((np.bincount(labels) >= 2).sum())
    held = candidates[: max(round(len(labels) * fraction), shared_classes)]
    kept = np.setdiff1d(np.arange(len(labels), dtype=np.int64), held, assume_unique=True)
    return kept, np.sort(held)


def stratified_sample(labels: Indices, count: int, seed: int = 0) -> Indices:
    """Sorted indices of a stratified sample of `count` images, or of all if there are fewer."""
    order, _ = _by_class(labels, Purpose.SAMPLE, seed)
    return np.sort(order[:count])


def _by_class(labels: Indices, purpose: Purpose, seed: int) -> tuple[Indices, npt.NDArray[np.bool_]]:
    # A random order whose every prefix is stratified: the r-th of n images of a class is at position (r + ½)/n, the
    # first at 0. Also returns for every position whether it is the last image of its class.
    shuffled = permutation(len(labels), purpose, seed)
    grouped = shuffled[np.argsort(labels[shuffled], kind="stable")]
    counts = np.bincount(labels)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    size = np.repeat(counts, counts)
    position = np.where(rank == 0, 0, (rank + 0.5) / size)
    tie = np.empty_like(shuffled)
    tie[shuffled] = np.arange(len(labels))
    order = np.lexsort((tie[grouped], position))
    return grouped[order], (rank == size - 1)[order]
