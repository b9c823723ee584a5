from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tvf
from toy_data import pixels

from edgemate.data.batchwise import batchwise, crop_each, flip_each, stack
from edgemate.data.rand_augment import can_batch
from edgemate.errors import DataError


def batch_of(n, channels=3, height=9, width=7, seed=0):
    return torch.from_numpy(pixels(n, channels, height, width, seed=seed))


@given(
    n=st.integers(1, 5),
    channels=st.sampled_from([1, 3]),
    height=st.integers(4, 9),
    width=st.integers(4, 9),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    data=st.data(),
)
def test_each_image_gets_the_crop_torchvision_would_make(n, channels, height, width, size, data):
    batch = batch_of(n, channels, height, width)
    top = data.draw(st.lists(st.integers(0, height - size[0]), min_size=n, max_size=n))
    left = data.draw(st.lists(st.integers(0, width - size[1]), min_size=n, max_size=n))
    cropped = crop_each(batch, torch.tensor(top), torch.tensor(left), *size)
    for i in range(n):
        assert torch.equal(cropped[i], tvf.crop(batch[i], top[i], left[i], *size))


@given(flip=st.lists(st.booleans(), min_size=1, max_size=6))
def test_each_image_gets_the_flip_torchvision_would_make(flip):
    batch = batch_of(len(flip))
    flipped = flip_each(batch, torch.tensor(flip))
    for i, turned in enumerate(flip):
        assert torch.equal(flipped[i], tvf.horizontal_flip(batch[i]) if turned else batch[i])
    assert torch.equal(batch, batch_of(len(flip)))


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
@pytest.mark.parametrize("padding", [None, 3, [1, 2], [0, 1, 2, 3]])
def test_a_batch_of_one_is_cropped_as_torchvision_does_from_the_same_seed(mode, padding):
    crop = v2.RandomCrop((9, 7), padding=padding, padding_mode=mode)
    for seed in range(10):
        image = batch_of(1, seed=seed)
        torch.manual_seed(seed)
        ours = batchwise(crop)(image)
        torch.manual_seed(seed)
        assert torch.equal(ours[0], crop(image[0]))


def test_every_position_is_drawn_separately_for_every_image():
    batch = torch.arange(25, dtype=torch.uint8).view(1, 1, 5, 5).expand(400, 1, 5, 5)
    torch.manual_seed(0)
    corners = batchwise(v2.RandomCrop((3, 3)))(batch)[:, 0, 0, 0]
    assert set(corners.tolist()) == {5 * row + column for row in range(3) for column in range(3)}


@pytest.mark.parametrize(("p", "low", "high"), [(0.0, 0, 0), (1.0, 400, 400), (0.5, 160, 240)])
def test_flips_are_as_frequent_as_asked(p, low, high):
    batch = torch.arange(4, dtype=torch.uint8).view(1, 1, 1, 4).expand(400, 1, 1, 4)
    torch.manual_seed(0)
    flipped = batchwise(v2.RandomHorizontalFlip(p))(batch)
    assert low <= int((flipped[:, 0, 0, 0] == 3).sum()) <= high


@pytest.mark.parametrize("transform", [v2.RandomVerticalFlip(0.5), v2.RandomCrop(9, pad_if_needed=True, fill=9)])
def test_any_other_transform_is_called_image_by_image(transform):
    batch = batch_of(6)
    torch.manual_seed(3)
    ours = batchwise(transform)(batch)
    torch.manual_seed(3)
    assert torch.equal(ours, torch.stack([transform(image) for image in batch]))


def test_images_of_different_shapes_are_refused():
    with pytest.raises(DataError, match=r"different shapes, \(3, 4, 4\) and \(3, 5, 4\)"):
        stack([torch.zeros(3, 5, 4), torch.zeros(3, 4, 4)])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("operations", [0, 1, 3])
def test_rand_augment_changes_each_image_as_torchvision_does(channels, operations):
    transform = v2.RandAugment(operations, 11)
    for seed in range(5):
        batch = batch_of(24, channels, 17, 13, seed=seed)
        torch.manual_seed(seed)
        ours = batchwise(transform)(batch)
        after = torch.rand(())
        torch.manual_seed(seed)
        assert torch.equal(ours, torch.stack([transform(image) for image in batch]))
        assert torch.rand(()) == after
        assert torch.equal(batch, batch_of(24, channels, 17, 13, seed=seed))


def test_a_rand_augment_that_is_not_understood_is_called_image_by_image(monkeypatch):
    batch, transform = batch_of(6), v2.RandAugment()
    torch.manual_seed(1)
    expected = batchwise(transform)(batch)
    monkeypatch.delattr(v2.RandAugment, "_AUGMENTATION_SPACE")
    assert not can_batch(transform)

    class Own(v2.RandAugment):
        pass

    monkeypatch.undo()
    assert not can_batch(Own())
    torch.manual_seed(1)
    assert torch.equal(batchwise(Own())(batch), expected)
