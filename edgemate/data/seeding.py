"""Random choices as pure functions of a key: the same on every machine, independent of earlier draws.

NumPy guarantees the streams of its bit generators across versions (NEP 19), but not `Generator.permutation`; so
everything here is built on raw bits.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt


class Purpose(IntEnum):
    """The first part of every key, so that one seed gives independent draws for different purposes."""

    TEST_SPLIT = 1
    CALIBRATION_SPLIT = 2
    TRAIN_LIMIT = 3
    SAMPLE = 4
    STATISTICS = 5
    ORDER = 6
    AUGMENTATION = 7
    DOMAINS = 8
    UNLABELED_LIMIT = 9
    UNLABELED_ORDER = 10
    UNLABELED_AUGMENTATION = 11
    CORRUPTION = 12
    CALIBRATION_LIMIT = 13
    TEST_LIMIT = 14
    BALANCE = 15
    MIXUP = 16


def permutation(n: int, purpose: Purpose, *key: int) -> npt.NDArray[np.int64]:
    """The numbers 0 to n − 1 in random order (n,). Keys are not negative."""
    bits = np.random.PCG64(np.random.SeedSequence([purpose, *key])).random_raw(n)
    return np.argsort(np.asarray(bits), kind="stable").astype(np.int64, copy=False)


def seed_of(purpose: Purpose, *key: int) -> int:
    """A 63-bit seed. Keys are not negative."""
    return int(np.random.SeedSequence([purpose, *key]).generate_state(1, np.uint64)[0]) >> 1
