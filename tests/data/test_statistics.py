from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from toy_data import array_source, input_spec, pixels, write_image

from edgemate.data import statistics
from edgemate.data.source import ArrayImages, FileImages
from edgemate.data.statistics import channel_statistics
from edgemate.errors import DataError


@pytest.mark.parametrize("channels", [1, 3])
def test_only_the_given_images_count(channels, monkeypatch):
    monkeypatch.setattr(statistics, "_CHUNK", 7)
    source = array_source(n=60, channels=channels)
    indices = np.arange(0, 60, 3)
    mean, std = channel_statistics(source.train, indices, input_spec(source), seed=0)
    seen = source.train.array[indices] / 255
    np.testing.assert_allclose(mean, seen.mean(axis=(0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(std, seen.std(axis=(0, 1, 2)), atol=1e-6)


def test_files_are_resized_and_cropped_first(tmp_path):
    paths = [write_image(tmp_path / f"{i}.png", size=(40, 20), seed=i) for i in range(3)]
    files = FileImages(paths, np.zeros(3, np.int64), 3)
    source = replace(array_source(), train=files, size=None)
    spec = input_spec(source, image_size=20, resize_to=20)
    mean, std = channel_statistics(files, np.arange(3), spec, seed=0)
    seen = np.stack([np.asarray(files.image(i))[:, 10:30] for i in range(3)]) / 255
    np.testing.assert_allclose(mean, seen.mean(axis=(0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(std, seen.std(axis=(0, 1, 2)), atol=1e-6)


def test_a_sample_is_seeded_and_close_to_the_exact_statistics(monkeypatch):
    source = array_source(n=200)
    spec = input_spec(source, image_size=16)
    whole, _ = channel_statistics(source.train, np.arange(200), spec, seed=0)
    monkeypatch.setattr(statistics, "SAMPLE", 50)
    first, again, other = (channel_statistics(source.train, np.arange(200), spec, seed=s)[0] for s in (0, 0, 1))
    assert first == again != other
    np.testing.assert_allclose(first, whole, atol=0.02)


def test_a_constant_channel_is_refused():
    array = pixels(5, 8, 8, 3)
    array[..., 1] = 7
    with pytest.raises(DataError, match=r"set data\.mean and data\.std"):
        channel_statistics(ArrayImages(array, np.arange(5)), np.arange(5), input_spec(array_source()), seed=0)
