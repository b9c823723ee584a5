from __future__ import annotations

import numpy as np
import pytest
import torch
from toy_data import array_source, write_image

from edgemate.data.corrupted import CorruptedImages
from edgemate.data.corruption import gaussian_noise, invert
from edgemate.data.source import FileImages
from edgemate.errors import DataError

CLEAN = array_source(n=30).train
CHOSEN = np.array([2, 3, 5, 7, 11])
INVERTED_AND_NOISY = (invert(), gaussian_noise())


def corrupted(indices=CHOSEN, corruptions=INVERTED_AND_NOISY, key=(0, 0)):
    return CorruptedImages(CLEAN, indices, CLEAN.labels[indices], corruptions, key)


def test_chosen_images_are_corrupted_in_order():
    found = corrupted(corruptions=[invert()])
    assert len(found) == 5
    np.testing.assert_array_equal(found.array, 255 - CLEAN.array[CHOSEN])
    np.testing.assert_array_equal(np.asarray(found.image(3)), 255 - CLEAN.array[7])
    np.testing.assert_array_equal(corrupted(corruptions=()).array, CLEAN.array[CHOSEN])


def test_an_image_is_corrupted_the_same_way_in_any_selection():
    alone = corrupted(np.array([7])).array
    np.testing.assert_array_equal(corrupted().array[3], alone[0])
    assert not np.array_equal(corrupted(key=(1, 0)).array[3], alone[0])
    assert not np.array_equal(corrupted(key=(0, 1)).array[3], alone[0])


def test_two_corruptions_of_one_kind_draw_independently():
    twice = corrupted(corruptions=[gaussian_noise(sigma=0.02)] * 2).array.astype(int)
    once = corrupted(corruptions=[gaussian_noise(sigma=0.02)]).array.astype(int)
    first, second = once - CLEAN.array[CHOSEN], twice - once
    assert not np.array_equal(first, second)


def test_images_in_files_are_corrupted_when_they_are_read(tmp_path):
    paths = [write_image(tmp_path / f"{i}.png", size=(20 + i, 14), seed=i) for i in range(3)]
    files = FileImages(paths, np.arange(3), 3)
    found = CorruptedImages(files, np.array([1, 2]), np.array([-1, -1]), [invert()], (0,))
    assert found.array is None
    assert found.image(0).mode == "RGB"
    np.testing.assert_array_equal(np.asarray(found.image(0)), 255 - np.asarray(files.image(1)))
    gray = CorruptedImages(FileImages(paths, np.arange(3), 1), np.array([1]), np.array([-1]), [invert()], (0,))
    assert gray.image(0).mode == "L"


def test_a_corruption_must_return_images_of_the_same_kind():
    with pytest.raises(
        DataError, match=r"corruptions\.0 returns torch\.float32 of shape \(3, 8, 8\); it must return torch\.uint8"
    ):
        _ = corrupted(corruptions=[lambda pixels, seeds: pixels.to(torch.float32)]).array
