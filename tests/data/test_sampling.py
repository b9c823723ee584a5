"""`data.sampling: balanced`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_data import archive, prepare

from edgemate.data.loaders import EpochBatches
from edgemate.data.sampling import balanced_order
from edgemate.training.cached_loaders import CachedTrainLoader


@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=80).map(lambda found: np.array(found, np.int64)),
    seed=st.integers(0, 2**32),
    epoch=st.integers(0, 9),
)
def test_classes_are_equally_frequent_and_so_are_the_images_of_one(labels, seed, epoch) -> None:
    order = balanced_order(labels, seed, epoch)
    assert len(order) == len(labels)
    _, counts = np.unique(labels[order], return_counts=True)
    possible = len(np.unique(labels))
    assert counts.max() - (counts.min() if len(counts) == possible else 0) <= 1
    for label in np.unique(labels):
        uses = np.bincount(order, minlength=len(labels))[labels == label]
        assert uses.max() - uses.min() <= 1
    np.testing.assert_array_equal(order, balanced_order(labels, seed, epoch))


def test_epochs_and_seeds_differ() -> None:
    labels = np.repeat(np.arange(3), [2, 40, 8])
    orders = [balanced_order(labels, seed, epoch).tolist() for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert len({tuple(order) for order in orders}) == 3
    seen = set().union(*(balanced_order(labels, 0, epoch).tolist() for epoch in range(20)))
    assert seen == set(range(50)), "every image has its turn"


def test_an_epoch_keeps_its_length_and_every_loader_its_order(tmp_path) -> None:
    labels = np.repeat(np.arange(3), [20, 6, 4])
    path = archive(
        tmp_path / "images.npz",
        x_train=np.arange(30 * 8 * 8 * 3, dtype=np.uint32).astype(np.uint8).reshape(30, 8, 8, 3),
        y_train=labels,
    )
    section = {"options": {"path": str(path)}, "batch_size": 8, "calibration_fraction": 0.3}
    data = prepare("arrays", sampling="balanced", **section)
    plain = prepare("arrays", **section)
    loader, on_device = data.train_loader(), data.train_loader_on(torch.device("cpu"))
    kept = data.source.train.labels[data.splits.train]
    features = [np.arange(len(kept), dtype=np.float32)[:, None]]
    cached = CachedTrainLoader([features], kept, 8, data.seed, balanced=True)
    assert len(loader) == len(on_device) == len(cached) == len(plain.train_loader())
    for epoch in (0, 3):
        for one in (loader, on_device, cached):
            one.sampler.set_epoch(epoch)
        found = [torch.cat([batch[1] for batch in one]) for one in (loader, on_device, cached)]
        assert torch.equal(found[0], found[1])
        assert torch.equal(found[0], found[2])
        counts = found[0].bincount()
        assert counts.max() - counts.min() <= 1 + len(kept) % 8


def test_an_order_without_balance_is_the_one_it_was() -> None:
    batches = EpochBatches(np.arange(20), 5, 0)
    assert sorted(np.concatenate([batch.indices for batch in batches]).tolist()) == list(range(20))


def test_only_known_ways_are_accepted() -> None:
    with pytest.raises(ValueError, match="sampling"):
        prepare("digits", sampling="sometimes")
