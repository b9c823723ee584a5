from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import v2
from toy_data import array_source, input_spec, prepare, write_image

from edgemate.core.input_spec import Resize
from edgemate.data import on_device
from edgemate.data.loaders import evaluation_loader, train_loader
from edgemate.data.on_device import ImagesOnDevice, evaluation_loader_on, train_loader_on
from edgemate.data.source import FileImages
from edgemate.data.transforms import EvaluationTransform, TrainingTransform
from edgemate.distributed.sharding import Sharding
from edgemate.errors import DataError

CPU = torch.device("cpu")
INDICES = np.random.default_rng(0).permutation(60)[:45]


def both(augmentations, *, size=(8, 6), channels=3, batch_size=16, seed=0, **options):
    """The loader's batches, and those made on the device."""
    source = array_source(n=60, size=size, channels=channels)
    spec = input_spec(source).with_normalization((0.4, 0.5, 0.6)[:channels], (0.2, 0.3, 0.25)[:channels])
    transform = TrainingTransform(spec, augmentations)
    settings = {"batch_size": batch_size, "seed": seed, **options}
    return (
        train_loader(source.train, INDICES, transform, **settings),
        train_loader_on(CPU, source.train, INDICES, transform, **settings),
    )


def epoch_of(loader, epoch):
    loader.sampler.set_epoch(epoch)
    return list(loader)


def same(ours, theirs):
    return len(ours) == len(theirs) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(ours, theirs, strict=True)
    )


@given(
    mode=st.sampled_from(["constant", "edge", "reflect", "symmetric"]),
    padding=st.sampled_from([None, 2, [1, 3], [0, 1, 2, 3]]),
    order=st.permutations(["crop", "crop", "flip"]),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 2**32),
    epoch=st.integers(0, 9),
)
def test_the_batches_are_the_loaders_bit_for_bit(mode, padding, order, channels, seed, epoch):
    parts = {"crop": v2.RandomCrop((8, 6), padding=padding, padding_mode=mode), "flip": v2.RandomHorizontalFlip(0.4)}
    loader, made_there = both([parts[name] for name in order], channels=channels, seed=seed)
    assert len(made_there) == len(loader)
    assert same(epoch_of(made_there, epoch), epoch_of(loader, epoch))


def test_without_augmentation_too_and_for_several_processes():
    loader, made_there = both([])
    assert same(list(made_there), list(loader))
    loader, made_there = both([v2.RandomCrop((8, 6), padding=1)], sharding=Sharding(1, 2))
    assert same(epoch_of(made_there, 3), epoch_of(loader, 3))


def test_an_epoch_depends_on_the_seed_and_its_number_only():
    crop = [v2.RandomCrop((8, 6), padding=2)]
    _, loader = both(crop)
    second = epoch_of(loader, 2)
    next(iter(loader))  # broken off
    torch.rand(5)
    assert same(epoch_of(both(crop)[1], 2), second)
    assert not same(epoch_of(loader, 1), second)
    assert not same(epoch_of(both(crop, seed=1)[1], 2), second)


def test_the_global_generator_is_neither_used_nor_changed():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    list(both([v2.RandomCrop((8, 6), padding=2), v2.RandomHorizontalFlip()])[1])
    assert torch.equal(before, torch.get_rng_state())


def test_batches_are_channels_last():
    images, labels = next(iter(both([v2.RandomHorizontalFlip()])[1]))
    assert (images.dtype, tuple(images.shape), labels.dtype) == (torch.float32, (16, 3, 8, 6), torch.int64)
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_the_images_on_the_device_are_not_changed():
    _, loader = both([v2.RandomCrop((8, 6), padding=2), v2.RandomHorizontalFlip(1.0)])
    before = loader._images._pixels.clone()
    list(loader)
    assert torch.equal(loader._images._pixels, before)


def test_data_sent_to_a_gpu_is_in_pinned_memory(monkeypatch):
    asked = []
    empty = torch.empty

    def spy(*given, pin_memory, **options):
        asked.append(pin_memory)
        return empty(*given, **options)

    monkeypatch.setattr(torch, "empty", spy)
    parts = [torch.arange(3).unsqueeze(1), torch.arange(6).view(3, 2), torch.arange(2).expand(3, -1)]
    for device, pinned in (("cpu", False), ("cuda", True)):
        sent = on_device._to_send(parts, torch.device(device))
        assert torch.equal(sent, torch.tensor([[0, 0, 1, 0, 1], [1, 2, 3, 0, 1], [2, 4, 5, 0, 1]]))
        assert asked.pop() is pinned


def test_evaluation_is_all_of_a_split_in_order():
    source = array_source(n=60)
    spec = input_spec(source).with_normalization((0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
    theirs = evaluation_loader(source.train, INDICES, EvaluationTransform(spec), batch_size=16)
    ours = evaluation_loader_on(CPU, source.train, INDICES, spec, batch_size=16)
    assert same(list(ours), list(theirs))
    assert same(list(ours), list(theirs))
    assert len(ours) == len(theirs)


def test_the_digits_as_a_recipe_describes_them():
    data = prepare("digits", augmentation=[{"random_crop": {"padding": 1}}, "horizontal_flip"], batch_size=64)
    assert same(epoch_of(data.train_loader_on(CPU), 1), epoch_of(data.train_loader(), 1))
    assert same(list(data.calibration_loader_on(CPU)), list(data.calibration_loader()))


def test_another_augmentation_is_refused():
    with pytest.raises(DataError, match=r"ColorJitter is not available .* rand_augment; set it to ram or none"):
        both([v2.RandomHorizontalFlip(), v2.ColorJitter(0.1)])


@given(
    order=st.permutations(["crop", "flip", "rand", "rand"]), channels=st.sampled_from([1, 3]), seed=st.integers(0, 99)
)
def test_rand_augment_among_crops_and_flips_is_the_loaders(order, channels, seed):
    parts = {
        "crop": v2.RandomCrop((8, 6), padding=2),
        "flip": v2.RandomHorizontalFlip(0.4),
        "rand": v2.RandAugment(2, 9),
    }
    loader, made_there = both([parts[name] for name in order], channels=channels, seed=seed)
    assert same(epoch_of(made_there, 1), epoch_of(loader, 1))


@pytest.mark.parametrize("size", [(8, 8), (11, 9)])
def test_images_in_files_are_decoded_and_resized_once(tmp_path, size):
    paths = [write_image(tmp_path / f"{n}.png", size, seed=n) for n in range(4)]
    files = FileImages(paths, np.arange(4), 3)
    spec = input_spec(array_source()).model_copy(update={"resize": Resize(mode="stretch", size=(8, 8))})
    chosen = np.array([2, 0])
    expected = EvaluationTransform(spec)(files, chosen)
    there = ImagesOnDevice(files, chosen, spec, CPU)
    for path in paths:
        path.unlink()
    pixels, labels = there.batch(np.arange(2), *(torch.arange(8).expand(2, -1),) * 2)
    assert torch.equal(there.normalized(pixels), expected)
    assert labels.tolist() == [2, 0]


def test_images_of_different_sizes_are_refused():
    source = array_source()
    spec = input_spec(source)
    resized = TrainingTransform(spec, [v2.RandomResizedCrop((8, 8))])
    with pytest.raises(DataError, match=r"random_resized_crop, .* take images of different sizes; set it to ram"):
        train_loader_on(CPU, source.train, np.arange(4), resized, batch_size=2, seed=0)


def test_images_that_do_not_fit_are_refused(monkeypatch):
    source = array_source()
    monkeypatch.setattr(on_device, "free_bytes", lambda device: 2 * 40 * 8 * 8 * 3)
    ImagesOnDevice(source.train, np.arange(40), input_spec(source), CPU)
    monkeypatch.setattr(on_device, "free_bytes", lambda device: 2 * 40 * 8 * 8 * 3 - 1)
    with pytest.raises(
        DataError, match=r"40 images take 0\.0 GiB, more than half of the 0\.0 GiB that are free on cpu"
    ):
        ImagesOnDevice(source.train, np.arange(40), input_spec(source), CPU)
