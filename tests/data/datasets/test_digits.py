from __future__ import annotations

import numpy as np

from edgemate.data.datasets.digits import digits


def test_all_1797_digits_are_there_once():
    source = digits()
    assert source.classes == tuple("0123456789")
    assert (source.channels, source.size) == (1, (8, 8))
    assert len(source.train) + len(source.test) == 1797
    assert len(source.test) == 449
    assert source.train.array.shape == (1348, 8, 8, 1)
    assert source.train.array.dtype == np.uint8
    assert source.train.labels.dtype == np.int64


def test_gray_levels_are_scaled_to_a_byte():
    array = digits().train.array
    assert sorted(np.unique(array)) == [round(level * 255 / 16) for level in range(17)]


def test_the_test_split_is_by_class_and_seeded():
    first, again, other = digits(), digits(), digits(test_seed=1)
    np.testing.assert_array_equal(first.test.array, again.test.array)
    assert not np.array_equal(first.test.array, other.test.array)
    counts = np.bincount(first.test.labels)
    assert counts.min() >= 43
    assert counts.max() <= 46
    assert len(digits(test_fraction=0.5).test) in (898, 899)
