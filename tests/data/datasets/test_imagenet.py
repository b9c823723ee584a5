from __future__ import annotations

from pathlib import Path

import dataset_trees as trees
import pytest

from edgemate.data.datasets.imagenet import check_imagenet, imagenet
from edgemate.errors import DataError

NAMES = ("tench", "crane (n02012849)", "crane (n03126707)")


def class_folders(folder: Path) -> None:
    trees.imagenet_train(folder)
    for i, key in enumerate(trees.VALIDATION, 1):
        trees.write_jpegs(folder / "val" / key, f"ILSVRC2012_val_{i:08d}.JPEG")


def with_kit(folder: Path) -> None:
    pytest.importorskip("scipy")
    trees.imagenet_train(folder)
    trees.imagenet_flat_val(folder)
    trees.imagenet_kit(folder)


@pytest.mark.parametrize("lay_out", [class_folders, with_kit, trees.imagenet_kaggle])
def test_every_layout_gives_the_same_labels(tmp_path, lay_out):
    lay_out(tmp_path / "imagenet")
    check_imagenet(root=str(tmp_path))
    source = imagenet(root=str(tmp_path))
    named = tuple(trees.CRANES) if lay_out is class_folders else NAMES
    assert source.classes == named
    assert (source.channels, source.size) == (3, None)
    assert source.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert [path.name for path in source.train.paths[:2]] == ["n01440764_10.JPEG", "n01440764_2.JPEG"]
    found = {path.name: list(trees.CRANES)[label] for path, label in pairs(source.test)}
    assert found == {f"ILSVRC2012_val_{i:08d}.JPEG": key for i, key in enumerate(trees.VALIDATION, 1)}
    assert source.test.image(0).mode == "RGB"


def pairs(images):
    return zip(images.paths, images.labels, strict=True)


def test_names_may_come_from_a_list_of_words(tmp_path):
    class_folders(tmp_path / "imagenet")
    lines = [f"{key}\t{words}" for key, words in trees.CRANES.items()]
    trees.write_lines(tmp_path / "imagenet" / "words.txt", *lines)
    assert imagenet(root=str(tmp_path)).classes == NAMES


def test_every_incomplete_folder_is_one_line(tmp_path):
    folder = tmp_path / "imagenet"

    def message():
        with pytest.raises(DataError) as caught:
            imagenet(root=str(tmp_path))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert f"no folder {folder}" in message()
    folder.mkdir()
    assert f"{folder / 'train'} is missing" in message()
    (folder / "train").mkdir()
    assert f"{folder / 'val'} is missing" in message()
    (folder / "val").mkdir()
    assert f"{folder / 'train'} has no class folders" in message()
    (folder / "train" / "n01440764.tar").touch()
    assert "n01440764.tar: is packed; unpack it" in message()
    trees.imagenet_train(folder)
    assert "no class folders and there are no labels for its images" in message()
    trees.write_jpegs(folder / "val" / "n01440764", "a.JPEG")
    assert f"{folder / 'val' / 'n02012849'}: is missing; every class must have a folder" in message()
    trees.write_jpegs(folder / "val" / "n01440765", "a.JPEG")
    assert "n01440765: is of no known class; did you mean 'n01440764'" in message()


def test_labels_that_do_not_fit_are_named(tmp_path):
    folder = tmp_path / "imagenet"
    trees.imagenet_kaggle(folder)
    val = folder / "ILSVRC" / "Data" / "CLS-LOC" / "val"
    trees.write_jpegs(val, "ILSVRC2012_val_00000005.JPEG")
    with pytest.raises(DataError, match=r"00000005\.JPEG: has no label in .*LOC_val_solution\.csv"):
        imagenet(root=str(tmp_path))
    trees.write_lines(folder / "LOC_val_solution.csv", *(f"ILSVRC2012_val_{i:08d},n02012849 1" for i in range(1, 6)))
    with pytest.raises(DataError, match="has no images of class n01440764, which train/ has"):
        imagenet(root=str(tmp_path))
    trees.write_lines(folder / "LOC_val_solution.csv", *(f"ILSVRC2012_val_{i:08d},n09999999 1" for i in range(1, 6)))
    with pytest.raises(DataError, match="is of class n09999999, which has no folder in train/"):
        imagenet(root=str(tmp_path))
    trees.write_lines(folder / "LOC_val_solution.csv", "ILSVRC2012_val_00000001,")
    with pytest.raises(DataError, match="is not a name and a prediction"):
        imagenet(root=str(tmp_path))


def test_a_damaged_kit_is_named(tmp_path):
    savemat = pytest.importorskip("scipy.io").savemat
    with_kit(tmp_path / "imagenet")
    data = tmp_path / "imagenet" / "ILSVRC2012_devkit_t12" / "data"
    trees.write_lines(data / "ILSVRC2012_validation_ground_truth.txt", "1", "17")
    with pytest.raises(DataError, match=r"ground_truth\.txt, line 2: '17' is not a class of"):
        imagenet(root=str(tmp_path))
    savemat(data / "meta.mat", {"synsets": [1, 2]})
    with pytest.raises(DataError, match=r"meta\.mat: synsets lacks"):
        imagenet(root=str(tmp_path))
