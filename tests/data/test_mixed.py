from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import v2
from toy_data import array_source, input_spec, write_image

from edgemate.data.loaders import EpochBatches, train_loader
from edgemate.data.mixed import Domain, MixedBatches, mixed_loader
from edgemate.data.source import ArrayImages, FileImages
from edgemate.data.transforms import TrainingTransform
from edgemate.distributed.sharding import Sharding
from edgemate.errors import ImageError

# Python 3.12 and later say so wherever a worker is forked beside torch's own threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

SOURCE = array_source(n=40)
SPEC = input_spec(SOURCE)
AUGMENTATIONS = [v2.RandomCrop(8, padding=2), v2.RandomHorizontalFlip()]


def target(n=24):
    return ArrayImages(SOURCE.test.array[:n], np.full(n, -1))


def mixed(seed=0, workers=0, per_batch=None, n=24, augmentations=AUGMENTATIONS):
    transform = TrainingTransform(SPEC, augmentations)
    batches = EpochBatches(np.arange(40), 16, seed)
    domains = Domain(SOURCE.train, transform), Domain(target(n), transform)
    return mixed_loader(*domains, batches, per_batch=per_batch, workers=workers)


def epoch_of(loader, epoch):
    loader.sampler.set_epoch(epoch)
    return list(loader)


def same(one, other):
    return all(
        torch.equal(a, b) for left, right in zip(one, other, strict=True) for a, b in zip(left, right, strict=True)
    )


def test_labeled_images_are_followed_by_as_many_unlabeled_ones():
    loader = mixed()
    batches = list(loader)
    assert len(batches) == len(loader) == 3
    for (images, labels), n in zip(batches, (16, 16, 8), strict=True):
        assert len(images) == len(labels) == 2 * n
        assert (labels[:n] >= 0).all()
        assert (labels[n:] == -1).all()


def test_the_labeled_half_is_the_same_as_without_a_target():
    plain = train_loader(SOURCE.train, np.arange(40), TrainingTransform(SPEC, AUGMENTATIONS), batch_size=16, seed=0)
    known = [(images[labels >= 0], labels[labels >= 0]) for images, labels in mixed(per_batch=5)]
    assert same(known, list(plain))


def test_an_epoch_depends_on_the_seed_and_its_number_only():
    epochs = [epoch_of(mixed(), epoch) for epoch in range(2)]
    torch.manual_seed(99)
    loader = mixed()
    next(iter(loader))
    assert same(epoch_of(loader, 1), epochs[1])
    assert not same(epochs[0], epochs[1])
    assert not same(epoch_of(mixed(seed=1), 0), epochs[0])


def test_workers_give_the_same_batches_as_one_process():
    assert same(epoch_of(mixed(), 2), epoch_of(mixed(workers=2), 2))


@given(
    n=st.integers(2, 60),
    unlabeled=st.integers(1, 50),
    batch_size=st.integers(2, 12),
    per_batch=st.none() | st.integers(1, 20),
    ranks=st.integers(1, 3),
    accumulate=st.integers(1, 2),
    epoch=st.integers(0, 9),
)
def test_all_unlabeled_images_are_used_before_any_again(n, unlabeled, batch_size, per_batch, ranks, accumulate, epoch):
    def batches(sharding):
        found = MixedBatches(EpochBatches(np.arange(n), batch_size, 3, sharding), unlabeled, per_batch)
        found.set_epoch(epoch)
        assert len(list(found)) == len(found)
        return list(found)

    whole = batches(Sharding())
    row = np.concatenate([batch.target.indices for batch in whole])
    assert len(row) == sum(per_batch or len(batch.source.indices) for batch in whole)
    for start, end in pairwise([*range(0, len(row), unlabeled), len(row)]):
        lap = row[start:end].tolist()
        assert len(set(lap)) == len(lap)
        assert set(lap) <= set(range(unlabeled))
    seeds = [seed for batch in whole for seed in (batch.source.seed, batch.target.seed)]
    assert len(set(seeds)) == len(seeds)

    shards = [batches(Sharding(rank, ranks, accumulate)) for rank in range(ranks)]
    together = [batch for turn in zip(*shards, strict=True) for batch in turn]
    parts = ranks * accumulate
    for step, theirs in enumerate(whole[: len(together) // parts]):
        ours = together[step * parts : (step + 1) * parts]
        np.testing.assert_array_equal(np.concatenate([batch.target.indices for batch in ours]), theirs.target.indices)
        assert {batch.target.seed for batch in ours} == {theirs.target.seed}


def test_an_unreadable_image_of_either_domain_is_one_line(tmp_path):
    paths = [write_image(tmp_path / f"{i}.png", size=(8, 8)) for i in range(4)]
    paths[2].write_text("no image")
    broken, whole = (
        Domain(FileImages(paths, np.zeros(4, np.int64), 3), TrainingTransform(SPEC)),
        Domain(target(), TrainingTransform(SPEC)),
    )
    for pair in ((broken, whole), (whole, broken)):
        with pytest.raises(ImageError, match=r"2\.png: is not an image"):
            list(mixed_loader(*pair, EpochBatches(np.arange(4), 4, 0), per_batch=None))
