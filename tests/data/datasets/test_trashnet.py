from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dataset_trees import write_jpegs
from real_data import require

from edgemate.data.datasets.trashnet import trashnet
from edgemate.errors import DataError

CLASSES = ("cardboard", "glass", "metal", "paper", "plastic", "trash")


def tree(folder: Path, per_class: int) -> None:
    for name in CLASSES:
        write_jpegs(folder / name, *(f"{name}{i}.jpg" for i in range(per_class)))


def test_splits_in_folders_are_used(tmp_path):
    tree(tmp_path / "trashnet" / "train", 3)
    tree(tmp_path / "trashnet" / "test", 1)
    source = trashnet(root=str(tmp_path))
    assert source.classes == CLASSES
    assert np.bincount(source.train.labels).tolist() == [3] * 6
    assert source.test.labels.tolist() == list(range(6))


def test_the_archives_images_are_split_by_class_and_the_same_each_time(tmp_path):
    tree(tmp_path / "trashnet", 10)
    first, again = trashnet(root=str(tmp_path)), trashnet(root=str(tmp_path))
    assert np.bincount(first.test.labels).tolist() == [2] * 6
    assert np.bincount(first.train.labels).tolist() == [8] * 6
    assert not set(first.train.paths) & set(first.test.paths)
    assert list(first.test.paths) == list(again.test.paths)


def test_another_class_is_named(tmp_path):
    tree(tmp_path / "trashnet", 2)
    write_jpegs(tmp_path / "trashnet" / "metall", "a.jpg")
    with pytest.raises(DataError, match="metall: is of no known class; did you mean 'metal'"):
        trashnet(root=str(tmp_path))


def test_real_trashnet():
    require("trashnet")
    source = trashnet()
    assert len(source.train) + len(source.test) == 2_527
    assert np.bincount(np.r_[source.train.labels, source.test.labels]).tolist() == [403, 501, 410, 594, 482, 137]
