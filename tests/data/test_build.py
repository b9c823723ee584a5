from __future__ import annotations

import inspect
import subprocess
import sys

import numpy as np
import pytest
import torch
from real_data import require
from toy_data import archive, prepare, write_folders

from edgemate.config import Data
from edgemate.config.options import options_model
from edgemate.data import load_source
from edgemate.errors import DataError, UsageError
from edgemate.registry import DATASETS

AUGMENTATION = [{"random_crop": {"padding": 1}}, "horizontal_flip"]


def test_digits_from_name_to_batches():
    data = prepare("digits", augmentation=AUGMENTATION, batch_size=64)
    assert data.classes == tuple("0123456789")
    assert (data.spec.height, data.spec.width, data.spec.resize) == (8, 8, None)
    images = torch.cat([images for images, _ in data.train_loader()])
    assert len(images) + len(data.splits.calibration) == 1348
    for loader, indices, images in (
        (data.calibration_loader(), data.splits.calibration, data.source.train),
        (data.test_loader(), data.splits.test, data.source.test),
    ):
        labels = torch.cat([labels for _, labels in loader])
        np.testing.assert_array_equal(labels, images.labels[indices])


def test_normalization_is_learned_from_the_training_split_only():
    data = prepare("digits")
    seen = data.source.train.array[data.splits.train] / 255
    np.testing.assert_allclose(data.spec.mean, [seen.mean()], atol=1e-6)
    np.testing.assert_allclose(data.spec.std, [seen.std()], atol=1e-6)
    images = torch.cat([images for images, _ in data.train_loader()])
    assert abs(float(images.mean())) < 1e-4
    assert abs(float(images.std()) - 1) < 1e-3


def test_a_given_normalization_is_kept():
    data = prepare("digits", mean=[0.25], std=[0.5])
    assert (data.spec.mean, data.spec.std) == ((0.25,), (0.5,))
    with pytest.raises(DataError, match=r"data\.mean and data\.std: only one is set"):
        prepare("digits", mean=[0.25])
    with pytest.raises(DataError, match=r"data\.mean has 3 numbers; the images have 1 channel"):
        prepare("digits", mean=[0.5] * 3, std=[0.5] * 3)


def test_the_training_seed_changes_neither_splits_nor_spec():
    one, other = prepare("digits", seed=0), prepare("digits", seed=1)
    assert one.spec == other.spec
    np.testing.assert_array_equal(one.splits.train, other.splits.train)
    assert not torch.equal(next(iter(one.train_loader()))[1], next(iter(other.train_loader()))[1])


def test_arrays_and_folders(tmp_path):
    data = prepare("arrays", options={"path": str(archive(tmp_path / "a.npz"))}, batch_size=4)
    assert data.classes == ("a", "b", "c")
    folders = write_folders(tmp_path / "images", per_class=6)
    data = prepare(
        "image_folder",
        options={"path": str(folders), "channels": 1},
        image_size=16,
        augmentation=["random_resized_crop", "horizontal_flip"],
        batch_size=4,
    )
    images, _ = next(iter(data.train_loader()))
    assert images.shape == (4, 1, 16, 16)
    assert torch.isfinite(images).all()


def test_unknown_names_are_usage_errors():
    with pytest.raises(UsageError, match="did you mean 'digits'"):
        prepare("digit")
    with pytest.raises(UsageError, match="did you mean 'random_crop'"):
        prepare("digits", augmentation=["random_crpo"])


def test_a_plug_in_must_return_a_data_source():
    with pytest.raises(DataError, match=r"returns a OrderedDict; it must return an edgemate\.data\.DataSource"):
        load_source("collections:OrderedDict")


@pytest.mark.parametrize("name", DATASETS.names())
def test_every_dataset_has_a_schema_and_a_line_for_every_option(name):
    factory = DATASETS.get(name)
    for option in options_model(factory).model_fields:
        assert f"{option}:" in inspect.getdoc(factory)


def test_options_can_be_checked_without_loading_torch():
    code = (
        "import sys; from edgemate.registry import DATASETS; [DATASETS.get(n) for n in DATASETS.names()];"
        "import edgemate.data; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_real_fashion_mnist():
    require("fashion_mnist")
    data = prepare("fashion_mnist", augmentation=AUGMENTATION, train_limit=256)
    images, labels = next(iter(data.train_loader()))
    assert images.shape == (128, 1, 28, 28)
    assert len(data.splits.calibration) == 6_000
    assert np.bincount(data.source.train.labels[data.splits.train]).min() >= 25
    assert labels.unique().numel() == 10


def test_real_imagenette():
    require("imagenette")
    data = prepare(
        "image_folder",
        options={"path": "imagenette"},
        image_size=64,
        train_limit=40,
        augmentation=["random_resized_crop", "trivial_augment"],
        batch_size=20,
    )
    images, _ = next(iter(data.train_loader()))
    assert images.shape == (20, 3, 64, 64)
    assert 0.3 < min(data.spec.mean) < max(data.spec.mean) < 0.6


def test_skip_damaged_is_still_read_where_it_was_an_option_of_image_folder():
    old = {"name": "image_folder", "options": {"path": "x", "skip_damaged": True}}
    section = Data.model_validate(old)
    assert (section.skip_damaged, section.options) == (True, {"path": "x"})
    assert Data.model_validate(old | {"skip_damaged": False}).skip_damaged is False
    other = Data.model_validate(old | {"name": "my_pkg.mod:MyData"})
    assert (other.skip_damaged, other.options) == (False, old["options"])
