from __future__ import annotations

import numpy as np
import pytest
import torch
from real_data import require
from toy_data import archive, pixels, prepare, write_folders, write_image

from edgemate.config import Unlabeled
from edgemate.errors import DataError

INVERTED = ["invert"]


def shifted(**options):
    return prepare("digits", unlabeled=Unlabeled(corruptions=INVERTED, **options), batch_size=64)


def rows(images):
    return [image.tobytes() for image in images]


def test_no_image_is_in_both_domains_nor_in_the_calibration_split():
    data = shifted()
    clean = data.source.train.array
    source = set(data.splits.train.tolist())
    target = set(data.target.train.indices.tolist())
    calibration = set(data.splits.calibration.tolist())
    assert not source & target
    assert not (source | target) & calibration
    assert source | target | calibration == set(range(len(clean)))
    assert abs(len(source) - len(target)) <= 1
    np.testing.assert_array_equal(data.target.train.array, 255 - clean[data.target.train.indices])
    fractions = [np.bincount(data.source.train.labels[sorted(half)]) / len(half) for half in (source, target)]
    np.testing.assert_allclose(*fractions, atol=0.01)


def test_the_second_domain_leaves_calibration_and_test_as_they_were():
    plain, data = prepare("digits"), shifted(fraction=0.3)
    np.testing.assert_array_equal(plain.splits.calibration, data.splits.calibration)
    np.testing.assert_array_equal(plain.splits.test, data.splits.test)
    assert len(data.target.train) == pytest.approx(0.3 * len(plain.splits.train), abs=1)


def test_limits_are_each_domains_own():
    data = prepare("digits", train_limit=100, unlabeled=Unlabeled(limit=150))
    whole = shifted()
    assert (len(data.splits.train), len(data.target.train)) == (100, 150)
    assert set(data.splits.train) <= set(whole.splits.train)
    assert set(data.target.train.indices) <= set(whole.target.train.indices)


def test_no_label_of_the_target_reaches_training():
    data = shifted()
    assert set(data.target.train.labels) == {-1}
    for images, labels in data.mixed_loader():
        known = labels >= 0
        assert known.sum() == (~known).sum()
        assert set(labels[~known].tolist()) == {-1}
        # Inverted digits are bright where the source is dark.
        assert images[~known].mean() > images[known].mean() + 0.5


def test_normalization_is_learned_from_the_sources_half_only():
    data = shifted()
    seen = data.source.train.array[data.splits.train] / 255
    np.testing.assert_allclose(data.spec.mean, [seen.mean()], atol=1e-6)
    assert (data.target.spec.mean, data.target.spec.std) == (data.spec.mean, data.spec.std)


def test_the_targets_test_split_is_the_corrupted_one_with_its_labels():
    data = shifted()
    images, labels = (torch.cat(part) for part in zip(*data.target_test_loader(), strict=True))
    np.testing.assert_array_equal(labels, data.source.test.labels)
    clean = torch.cat([images for images, _ in data.test_loader()])
    mean, std = data.spec.mean[0], data.spec.std[0]
    torch.testing.assert_close(images * std + mean, 1 - (clean * std + mean), atol=1e-5, rtol=0)


def test_everything_follows_the_split_seed():
    noisy = Unlabeled(corruptions=[{"gaussian_noise": {"sigma": 0.2}}], limit=50)
    one, again = (prepare("digits", unlabeled=noisy) for _ in range(2))
    other = prepare("digits", unlabeled=noisy, split_seed=1)
    np.testing.assert_array_equal(one.target.train.array, again.target.train.array)
    np.testing.assert_array_equal(one.target.test.array, again.target.test.array)
    assert not np.array_equal(one.target.test.array, other.target.test.array)


def test_two_datasets_with_the_same_classes(tmp_path):
    photos = write_folders(tmp_path / "photos", per_class=6)
    sketches = tmp_path / "sketches"
    for k, name in enumerate(("cat", "dog")):
        for i in range(5):
            write_image(sketches / name / f"{i}.png", size=(40 - i, 25), seed=100 + 10 * k + i)
    data = prepare(
        "image_folder",
        options={"path": str(photos)},
        image_size=16,
        unlabeled=Unlabeled(name="image_folder", options={"path": str(sketches)}, corruptions=INVERTED),
        batch_size=4,
    )
    assert len(data.target.train) == 8
    assert len(data.splits.train) + len(data.splits.calibration) == 10
    images, labels = next(iter(data.mixed_loader()))
    assert images.shape == (8, 3, 16, 16)
    assert sorted(set(labels[4:].tolist())) == [-1]
    assert next(iter(data.target_test_loader()))[0].shape[1:] == (3, 16, 16)


def test_a_domain_of_another_size_needs_an_image_size(tmp_path):
    here = {"path": str(archive(tmp_path / "here.npz"))}
    wider = {"path": str(archive(tmp_path / "wider.npz", x_train=pixels(12, 10, 12, 3), x_test=pixels(6, 10, 12, 3)))}
    with pytest.raises(DataError, match=r"its images are 10 × 12, those of data\.name 8 × 8; set data\.image_size"):
        prepare("arrays", options=here, unlabeled=Unlabeled(name="arrays", options=wider))
    data = prepare(
        "arrays", options=here, unlabeled=Unlabeled(name="arrays", options=wider), image_size=8, batch_size=4
    )
    assert next(iter(data.mixed_loader()))[0].shape == (8, 3, 8, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": np.array(["a", "b", "d"])}, "the classes of arrays are not those of arrays"),
        ({"x_train": pixels(12, 8, 8), "x_test": pixels(6, 8, 8)}, "has 1 channel and arrays 3"),
    ],
)
def test_domains_that_do_not_fit_each_other_are_refused(tmp_path, changes, message):
    one, other = archive(tmp_path / "one.npz"), archive(tmp_path / "other.npz", **changes)
    with pytest.raises(DataError, match=message):
        prepare("arrays", options={"path": str(one)}, unlabeled=Unlabeled(name="arrays", options={"path": str(other)}))


def test_without_a_target_there_are_no_mixed_batches():
    with pytest.raises(DataError, match=r"there is no target domain; set data\.unlabeled"):
        prepare("digits").mixed_loader()


def test_real_fashion_mnist_corrupted():
    require("fashion_mnist")
    corruptions = ["invert", {"gaussian_blur": {"sigma": 1.0}}, {"gaussian_noise": {"sigma": 0.1}}]
    plan = Unlabeled(corruptions=corruptions, limit=300)
    data = prepare("fashion_mnist", train_limit=200, unlabeled=plan, batch_size=64)
    assert (len(data.splits.train), len(data.target.train), len(data.target.test)) == (200, 300, 10_000)
    images, labels = next(iter(data.mixed_loader()))
    assert images.shape == (128, 1, 28, 28)
    assert (labels[64:] == -1).all()
