from __future__ import annotations

import shutil

import pytest
from dataset_trees import tiny_imagenet as tree
from dataset_trees import write_jpegs, write_lines

from edgemate.data.datasets.tiny_imagenet import tiny_imagenet
from edgemate.errors import DataError


def test_splits_and_names_are_the_official_ones(tmp_path):
    folder = tree(tmp_path)
    source = tiny_imagenet(root=str(tmp_path))
    assert source.classes == ("goldfish", "Egyptian cat")
    assert (source.channels, source.size) == (3, (64, 64))
    assert source.train.labels.tolist() == [0, 0, 1, 1]
    assert source.train.paths[2] == folder / "train" / "n02124075" / "images" / "n02124075_0.JPEG"
    assert [path.name for path in source.test.paths] == ["val_0.JPEG", "val_1.JPEG", "val_2.JPEG"]
    assert source.test.labels.tolist() == [1, 0, 1]
    assert source.test.image(0).size == (64, 64)


@pytest.mark.parametrize("inner", ["images", "."])
def test_validation_images_that_were_sorted_into_class_folders_are_read(tmp_path, inner):
    folder = tree(tmp_path)
    shutil.rmtree(folder / "val")
    write_jpegs(folder / "val" / "n01443537" / inner, "val_1.JPEG")
    write_jpegs(folder / "val" / "n02124075" / inner, "val_0.JPEG", "val_2.JPEG")
    source = tiny_imagenet(root=str(tmp_path))
    assert [path.name for path in source.test.paths] == ["val_1.JPEG", "val_0.JPEG", "val_2.JPEG"]
    assert source.test.labels.tolist() == [0, 1, 1]


def test_an_annotation_that_does_not_fit_is_named(tmp_path):
    annotations = tree(tmp_path) / "val" / "val_annotations.txt"
    write_lines(annotations, "val_0.JPEG\tn09999999\t0\t0\t1\t1")
    with pytest.raises(DataError, match=r"annotations\.txt: val_0\.JPEG is of class n09999999, which has no"):
        tiny_imagenet(root=str(tmp_path))
    write_lines(annotations, "val_0.JPEG\tn02124075\t0\t0\t1\t1", "val_1.JPEG")
    with pytest.raises(DataError, match=r"val_annotations\.txt, line 2: is 'val_1\.JPEG'"):
        tiny_imagenet(root=str(tmp_path))


def test_a_class_without_images_is_named(tmp_path):
    folder = tree(tmp_path) / "train" / "n01443537" / "images"
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"n01443537/images: has no images"):
        tiny_imagenet(root=str(tmp_path))
