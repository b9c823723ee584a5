from __future__ import annotations

import multiprocessing

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import v2
from toy_data import array_source, input_spec, write_image

from edgemate.data.loaders import EpochBatches, evaluation_loader, train_loader
from edgemate.data.source import ArrayImages, FileImages
from edgemate.data.transforms import EvaluationTransform, TrainingTransform
from edgemate.distributed.sharding import Sharding
from edgemate.errors import ImageError

AUGMENTATIONS = [v2.RandomCrop(8, padding=2), v2.RandomHorizontalFlip(), v2.RandAugment()]
# Python 3.12 and later say so wherever a worker is forked beside torch's own threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

SOURCE = array_source(n=40)
SPEC = input_spec(SOURCE)


def training(seed=0, workers=0, **options):
    transform = TrainingTransform(SPEC, AUGMENTATIONS)
    return train_loader(SOURCE.train, np.arange(40), transform, batch_size=16, seed=seed, workers=workers, **options)


def epoch_of(loader, epoch):
    loader.sampler.set_epoch(epoch)
    return list(loader)


def same(one, other):
    return len(one) == len(other) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(one, other, strict=True)
    )


def test_batches_are_float_images_and_int64_labels():
    loader = training()
    batches = list(loader)
    assert [len(images) for images, _ in batches] == [16, 16, 8]
    assert len(loader) == 3
    images, labels = batches[0]
    assert (images.shape, images.dtype, images.is_contiguous()) == ((16, 3, 8, 8), torch.float32, True)
    assert (labels.shape, labels.dtype) == ((16,), torch.int64)


def test_labels_go_with_their_images():
    loader = train_loader(SOURCE.train, np.arange(40), TrainingTransform(SPEC), batch_size=16, seed=0)
    known = {pixels.tobytes(): label for pixels, label in zip(SOURCE.train.array, SOURCE.train.labels, strict=True)}
    for images, labels in loader:
        for image, label in zip(images, labels, strict=True):
            pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
            assert known[pixels.tobytes()] == label


def test_an_epoch_depends_on_the_seed_and_its_number_only():
    loader = training()
    epochs = [epoch_of(loader, epoch) for epoch in range(3)]
    torch.manual_seed(99)
    np.random.default_rng().random()
    assert same(epoch_of(training(), 2), epochs[2])
    assert same(epoch_of(loader, 1), epochs[1])
    assert not same(epochs[0], epochs[1])
    assert not same(epoch_of(training(seed=1), 0), epochs[0])


def test_an_aborted_iteration_does_not_change_later_ones():
    loader = training()
    whole = epoch_of(loader, 1)
    next(iter(loader))
    assert same(epoch_of(loader, 1), whole)


def test_the_global_generator_is_neither_used_nor_changed():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    list(training())
    list(evaluation_loader(SOURCE.test, np.arange(40), EvaluationTransform(SPEC), batch_size=16))
    assert torch.equal(before, torch.get_rng_state())


def test_workers_give_the_same_batches_as_one_process():
    alone, with_workers = training(), training(workers=2)
    for epoch in (0, 3):
        assert same(epoch_of(alone, epoch), epoch_of(with_workers, epoch))


def test_more_workers_than_cores_are_no_warning(recwarn):
    training(workers=500)  # none is started before it is iterated
    assert not recwarn.list


@given(
    n=st.integers(1, 200),
    batch_size=st.integers(1, 40),
    ranks=st.integers(1, 4),
    accumulate=st.integers(1, 3),
    seed=st.integers(0, 2**32),
    epoch=st.integers(0, 50),
)
def test_an_epoch_has_every_image_once_but_a_last_batch_of_one(n, batch_size, ranks, accumulate, seed, epoch):
    whole = EpochBatches(np.arange(100, 100 + n), batch_size, seed)
    whole.set_epoch(epoch)
    batches = list(whole)
    assert len(batches) == len(whole)
    seen = np.concatenate([batch.indices for batch in batches])
    lonely = n % batch_size == 1 and n > 1 and batch_size > 1
    assert len(set(seen.tolist())) == len(seen) == n - lonely
    assert set(seen.tolist()) <= set(range(100, 100 + n))

    shardings = [Sharding(rank, ranks, accumulate) for rank in range(ranks)]
    shards = [EpochBatches(np.arange(100, 100 + n), batch_size, seed, sharding) for sharding in shardings]
    for shard in shards:
        shard.set_epoch(epoch)
        assert len(list(shard)) == len(shard)
    # Of one step after the other, and in it of one micro-batch after the other, those of all processes.
    together = [batch for turn in zip(*shards, strict=True) for batch in turn]
    parts = ranks * accumulate
    steps = len(together) // parts
    assert all(len(batch.indices) < 2 * parts for batch in batches[steps:])
    for step, theirs in enumerate(batches[:steps]):
        ours = together[step * parts : (step + 1) * parts]
        np.testing.assert_array_equal(np.concatenate([batch.indices for batch in ours]), theirs.indices)
        assert {batch.seed for batch in ours} == {theirs.seed}
        sizes = [len(batch.indices) for batch in ours]
        assert max(sizes) - min(sizes) <= 1
        assert shards[0].images_in(step) == len(theirs.indices)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("ranks", "accumulate"), [(2, 1), (1, 2), (2, 2)])
def test_crops_and_flips_do_not_depend_on_the_number_of_processes(workers: int, ranks: int, accumulate: int) -> None:
    augmentations = [v2.RandomCrop(8, padding=2), v2.RandomHorizontalFlip(), v2.RandomCrop(8, padding=1)]
    transform = TrainingTransform(SPEC, augmentations)

    def epoch(sharding: Sharding) -> list[torch.Tensor]:
        loader = train_loader(
            SOURCE.train, np.arange(40), transform, batch_size=16, seed=3, workers=workers, sharding=sharding
        )
        loader.sampler.set_epoch(2)
        return [images for images, _ in loader]

    shards = [epoch(Sharding(rank, ranks, accumulate)) for rank in range(ranks)]
    together = torch.cat([batch for turn in zip(*shards, strict=True) for batch in turn])
    assert torch.equal(together, torch.cat(epoch(Sharding())))


def test_other_augmentations_differ_from_image_to_image_and_not_with_the_number_of_processes() -> None:
    transform = TrainingTransform(SPEC, [v2.RandomRotation(180)])
    alike = ArrayImages(np.repeat(SOURCE.train.array[:1], 40, 0), SOURCE.train.labels)

    def epoch(ranks: int) -> torch.Tensor:
        shards = [
            list(train_loader(alike, np.arange(40), transform, batch_size=8, seed=3, sharding=Sharding(rank, ranks)))
            for rank in range(ranks)
        ]
        return torch.cat([images for turn in zip(*shards, strict=True) for images, _ in turn])

    two, four = epoch(2), epoch(4)
    assert torch.equal(two, four)
    assert len(two.flatten(1).unique(dim=0)) > 30


def test_evaluation_is_all_of_a_split_in_order():
    indices = np.array([3, 1, 4, 15, 9, 2, 6])
    loader = evaluation_loader(SOURCE.test, indices, EvaluationTransform(SPEC), batch_size=3)
    for _ in range(2):
        images, labels = (torch.cat(part) for part in zip(*loader, strict=True))
        assert labels.tolist() == SOURCE.test.labels[indices].tolist()
        assert torch.equal(images, EvaluationTransform(SPEC)(SOURCE.test, indices))
    assert len(loader) == 3


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_one_line_from_a_worker_too(tmp_path, workers):
    paths = [write_image(tmp_path / f"{i}.png", size=(8, 8)) for i in range(4)]
    paths[2].write_text("no image")
    files = FileImages(paths, np.zeros(4, np.int64), 3)
    loaders = [
        train_loader(files, np.arange(4), TrainingTransform(SPEC), batch_size=2, seed=0, workers=workers),
        evaluation_loader(files, np.arange(4), EvaluationTransform(SPEC), batch_size=2, workers=workers),
    ]
    for loader in loaders:
        with pytest.raises(ImageError, match=r"2\.png: is not an image") as caught:
            list(loader)
        assert "\n" not in str(caught.value)
        assert not multiprocessing.active_children()


@given(n=st.integers(1, 120), groups=st.integers(1, 8), repeats=st.integers(1, 4), epoch=st.integers(0, 9))
def test_repeated_images_are_in_one_batch_and_the_steps_stay(n, groups, repeats, epoch):
    size = groups * repeats
    plain, repeated = EpochBatches(np.arange(n), size, 3), EpochBatches(np.arange(n), size, 3, repeats=repeats)
    repeated.set_epoch(epoch)
    batches = [batch.indices for batch in repeated]
    assert len(batches) == len(plain) == len(repeated)
    for step, batch in enumerate(batches):
        assert len(batch) == repeated.images_in(step) <= size
        assert set(np.unique(batch, return_counts=True)[1].tolist()) == {repeats}
    seen = np.concatenate([np.unique(batch) for batch in batches]) if batches else []
    assert len(set(seen)) == len(seen), "an image is in one batch of an epoch"


def test_every_repetition_has_an_augmentation_of_its_own(tmp_path):
    paths = [write_image(tmp_path / f"{i}.png", size=(40, 40), seed=i) for i in range(4)]
    spec = input_spec(SOURCE, image_size=8)
    for images in (SOURCE.train, FileImages(paths, np.zeros(4, np.int64), 3)):
        transform = TrainingTransform(spec, [v2.RandomResizedCrop((8, 8), antialias=True)])
        loader = train_loader(images, np.arange(4), transform, batch_size=4, seed=0, repeats=4)
        ((batch, labels),) = list(loader)
        assert len(set(labels.tolist())) == 1
        assert len({image.numpy().tobytes() for image in batch}) == 4
