from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2
from toy_data import array_source, input_spec, write_image

from edgemate.data.source import FileImages
from edgemate.data.transforms import EvaluationTransform, TrainingTransform
from edgemate.errors import DataError, ImageError

MEAN, STD = (0.2, 0.4, 0.6), (0.3, 0.2, 0.1)


@pytest.fixture
def files(tmp_path):
    sizes = [(40, 30), (30, 41), (33, 33), (90, 31)]
    paths = [write_image(tmp_path / f"{i}.png", size, seed=i) for i, size in enumerate(sizes)]
    return FileImages(paths, np.zeros(4, np.int64), 3)


def spec_for(source, **options):
    return input_spec(source, **options).with_normalization(MEAN[: source.channels], STD[: source.channels])


def of_torchvision(image, *steps):
    tail = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    return v2.Compose([*steps, *tail])(image)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_evaluation_is_torchvisions_pil_pipeline(files, interpolation):
    source, mode = replace(array_source(), size=None), InterpolationMode(interpolation)
    spec = spec_for(source, image_size=24, interpolation=interpolation)
    ours = EvaluationTransform(spec)(files, np.arange(4))
    assert (ours.shape, ours.dtype) == ((4, 3, 24, 24), torch.float32)
    for i in range(4):
        torch.testing.assert_close(ours[i], of_torchvision(files.image(i), v2.Resize(27, mode), v2.CenterCrop(24)))
    spec = spec_for(source, image_size=24, resize="stretch", interpolation=interpolation)
    ours = EvaluationTransform(spec)(files, np.arange(4))
    for i in range(4):
        torch.testing.assert_close(ours[i], of_torchvision(files.image(i), v2.Resize((24, 24), mode)))


@pytest.mark.parametrize("options", [{}, {"image_size": 12}, {"image_size": 6, "resize": "shorter_side"}])
def test_arrays_and_their_images_one_by_one_give_the_same(options):
    source = array_source(size=(8, 8))
    transform = EvaluationTransform(spec_for(source, **options))
    together = transform(source.train, np.array([3, 1, 2]))
    separately = torch.cat([transform(source.train, np.array([i])) for i in (3, 1, 2)])
    assert torch.equal(together, separately)
    if not options:
        for i, index in enumerate((3, 1, 2)):
            torch.testing.assert_close(together[i], of_torchvision(source.train.image(index)))


@pytest.mark.parametrize("options", [{}, {"image_size": 12}, {"image_size": 6, "resize": "shorter_side"}])
@pytest.mark.parametrize("channels", [1, 3])
def test_training_without_augmentation_is_evaluation(options, channels):
    source = array_source(channels=channels)
    spec = spec_for(source, **options)
    indices = np.array([5, 0, 7])
    training = TrainingTransform(spec)(source.train, indices, seed=1)
    assert torch.equal(training, EvaluationTransform(spec)(source.train, indices))


def test_augmentation_depends_on_the_seed_only_and_keeps_the_global_generator():
    source = array_source()
    transform = TrainingTransform(spec_for(source), [v2.RandomCrop(8, padding=2), v2.RandAugment()])
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = transform(source.train, np.arange(20), seed=5)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(first, transform(source.train, np.arange(20), seed=5))
    assert not torch.equal(first, transform(source.train, np.arange(20), seed=6))


def record(transform):
    seen = []

    class Recorded(type(transform)):
        def forward(self, *inputs):
            seen.append(tuple(inputs[0].shape))
            return super().forward(*inputs)

    transform.__class__ = Recorded
    return transform, seen


def test_augmentations_that_size_images_themselves_get_more_than_the_center(files):
    spec = spec_for(replace(array_source(), size=None), image_size=24)
    whole, seen = record(v2.RandomResizedCrop(24))
    assert TrainingTransform(spec, [whole])(files, np.arange(4), seed=0).shape == (4, 3, 24, 24)
    assert seen == [(3, 30, 40), (3, 41, 30), (3, 33, 33), (3, 31, 90)]
    uncropped, seen = record(v2.RandomCrop(24))
    assert TrainingTransform(spec, [uncropped])(files, np.arange(4), seed=0).shape == (4, 3, 24, 24)
    assert seen == [(3, 27, 36), (3, 36, 27), (3, 27, 27), (3, 27, 78)]
    other, seen = record(v2.RandomHorizontalFlip())
    assert TrainingTransform(spec, [other])(files, np.arange(4), seed=0).shape == (4, 3, 24, 24)
    assert seen == [(3, 24, 24)] * 4


@pytest.mark.parametrize(
    ("augmentation", "message"),
    [
        (v2.CenterCrop(6), r"leaves torch.uint8 images of shape \(3, 6, 6\)"),
        (v2.ToDtype(torch.float32, scale=True), "leaves torch.float32 images"),
        (v2.Grayscale(1), r"leaves torch.uint8 images of shape \(1, 8, 8\)"),
    ],
)
def test_augmentations_that_spoil_the_input_are_refused(augmentation, message):
    source = array_source()
    with pytest.raises(DataError, match=message):
        TrainingTransform(spec_for(source), [augmentation])(source.train, np.arange(3), seed=0)


def test_a_file_too_long_and_thin_to_be_resized_is_named(tmp_path):
    path = tmp_path / "sliver.png"
    Image.new("RGB", (40_000, 1)).save(path)
    sliver = FileImages([path], np.array([0]), 3)
    spec = spec_for(replace(array_source(), size=None), image_size=224)
    for transform in (EvaluationTransform(spec), lambda *given: TrainingTransform(spec)(*given, seed=0)):
        with pytest.raises(ImageError, match=f"{path}: 40000x1 would become 10240000x256, which is too large"):
            transform(sliver, np.array([0]))
