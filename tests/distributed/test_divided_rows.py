"""Rows that processes divide reach those that want them, images on the device among them."""

from __future__ import annotations

import numpy as np
import pytest
import rank_tasks
import torch
from ranks import Ranks
from torchvision.transforms import v2
from toy_data import array_source, input_spec

from edgemate.data.loaders import train_loader
from edgemate.data.transforms import TrainingTransform
from edgemate.distributed.sharding import Sharding


def test_every_process_gets_the_rows_that_it_wants(two: Ranks) -> None:
    random = np.random.default_rng(0)
    for total in (1, 2, 7, 40):  # with one row, a process holds none
        rows = torch.arange(total * 6, dtype=torch.uint8).view(total, 2, 3)
        wanted = [[random.integers(0, total, size) for size in sizes] for sizes in [(5, 4), (1, 1), (0, 3), (6, 0)]]
        fetched = two.call(rank_tasks.rows_fetched, rows, wanted)
        for rank, turns in enumerate(fetched):
            for each, got in zip(wanted, turns, strict=True):
                assert torch.equal(got, rows[torch.from_numpy(each[rank])])


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("images", [45, 48])  # the last batch is uneven, or whole
def test_divided_images_make_the_batches_of_the_loader(two: Ranks, images: int, accumulate: int) -> None:
    source = array_source(n=60, size=(8, 6), channels=3)
    indices = np.random.default_rng(0).permutation(60)[:images]
    transform = TrainingTransform(input_spec(source), [v2.RandomCrop((8, 6), padding=1), v2.RandomHorizontalFlip()])
    made = two.call(rank_tasks.on_device_epoch, source, indices, accumulate)
    assert sum(held for _, held in made) == images
    for rank, (batches, held) in enumerate(made):
        assert abs(held - images / 2) <= 1
        loader = train_loader(
            source.train, indices, transform, batch_size=16, seed=3, sharding=Sharding(rank, 2, accumulate)
        )
        loader.sampler.set_epoch(1)  # type: ignore[attr-defined]
        expected = list(loader)
        assert len(batches) == len(expected) > 0
        for (pixels, labels), (expected_pixels, expected_labels) in zip(batches, expected, strict=True):
            assert torch.equal(pixels, expected_pixels)
            assert torch.equal(labels, expected_labels)


@pytest.mark.parametrize("number", [0, 1, 2, 5])
def test_items_in_turns_reach_rank_0_in_order(two: Ranks, number: int) -> None:
    (first, copied), (other, copied_too) = two.call(rank_tasks.items_in_turns, number)
    assert first == list(range(number))
    assert other == []
    assert copied == copied_too == [96.0, 0.0]
