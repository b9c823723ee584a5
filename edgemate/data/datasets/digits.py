"""Handwritten digits that are included in scikit-learn: nothing to download."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from edgemate.data.seeding import Purpose
from edgemate.data.source import ArrayImages, DataSource
from edgemate.data.splits import hold_out

CHANNELS = 1
"""Channels of the images, for what must know them before they are loaded."""


def digits(
    *,
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.25,
    test_seed: Annotated[int, Field(ge=0)] = 0,
) -> DataSource:
    """1,797 scanned digits, gray, 8 × 8 pixels (`sklearn.datasets.load_digits`).

    They are the test part of UCI's Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, 1998). Their 17 gray
    levels are scaled to 0 to 255.

    Args:
        test_fraction: of the images, for the test split, which is stratified by class.
        test_seed: of the random test split.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    array = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int64)
    train, test = hold_out(labels, test_fraction, Purpose.TEST_SPLIT, test_seed)
    return DataSource(
        name="digits",
        classes=tuple(str(name) for name in bunch.target_names),
        channels=1,
        train=ArrayImages(array[train], labels[train]),
        test=ArrayImages(array[test], labels[test]),
        size=(8, 8),
    )
