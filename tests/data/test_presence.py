"""What `check_data` says is what loading would say; what it lets pass has the layout that loading needs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dataset_trees as trees
import numpy as np
import pytest
from PIL import Image

from edgemate.config import Data, Unlabeled
from edgemate.data import check_data, load_source
from edgemate.errors import DataError


def put_images(root: Path, *places: str) -> str:
    for place in places:
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            Image.new("L", (4, 4)).save(path)
        else:
            path.write_text("")
    return str(root)


def kaggle(root: Path) -> Path:
    trees.imagenet_kaggle(root / "imagenet")
    return root / "imagenet"


def split_folders(name: str, held: str, labels: str) -> Callable[[Path], Path]:
    def lay_out(root: Path) -> Path:
        for split in ("train", held):
            trees.write_jpegs(root / name / split, *(f"{label}/{i}.jpg" for label in labels.split() for i in (1, 2)))
        return root / name

    return lay_out


def outcome(name: str, options: dict[str, Any], *, load: bool) -> str | None:
    try:
        load_source(name, options) if load else check_data(Data(name=name, options=options))
    except DataError as error:
        return str(error)
    return None


LAYOUTS = {
    "classes": ("a/1.png", "a/2.png", "a/3.png", "b/1.png"),
    "deep": ("a/x/1.png", "a/x/2.png", "a/y/z/3.png", "b/y/1.png"),
    "split": ("train/a/1.png", "train/a/2.png", "train/b/1.png", "test/a/1.png"),
    "val": ("train/a/1.png", "train/a/2.png", "train/b/1.png", "Validation/a/1.png"),
    "three": ("train/a/1.png", "train/b/1.png", "valid/a/1.png", "test/b/1.png"),
    "train-only": ("train/a/1.png", "train/a/2.png", "train/a/3.png", "train/b/1.png"),
    "system-files": ("a/1.png", "a/2.png", "a/3.png", "b/1.png", "a/Thumbs.db", "__MACOSX/a/1.png", ".DS_Store"),
    "too-few-for-calibration": ("train/a/1.png", "train/b/1.png", "test/a/1.png"),
    "too-few-for-a-test-split": ("a/1.png", "a/2.png", "b/1.png", "b/2.png"),
    "one-class": ("train/a/1.png", "train/a/2.png", "train/a/3.png"),
    "too-deep": ("images/a/1.png", "images/b/1.png"),
    "val-twice": ("train/a/1.png", "val/a/1.png", "valid/a/1.png"),
    "no-train": ("val/a/1.png", "test/a/1.png"),
    "unlabeled-test": ("train/a/1.png", "train/b/1.png", "test/1.png"),
    "no-classes": ("1.png",),
    "no-images": ("a/1.png", "a/2.png", "b/notes.txt"),
    "hidden-only": ("a/.1.png", "b/1.png"),
    "hidden-below": ("a/.x/1.png", "b/1.png"),
    "empty-test-class": ("train/a/1.png", "test/a/notes.txt"),
    "class-of-its-own": ("train/cat/1.png", "test/cats/1.png"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_check_of_an_image_folder_agrees_with_loading_it(tmp_path: Path, layout: str) -> None:
    options = {"path": put_images(tmp_path / "images", *LAYOUTS[layout])}
    checked = outcome("image_folder", options, load=False)
    if layout.startswith("too-few"):  # to train, but enough to read the test split
        assert outcome("image_folder", options, load=True) is None
    else:
        assert checked == outcome("image_folder", options, load=True)
    good = ("classes", "deep", "split", "val", "three", "train-only", "system-files")
    assert (checked is None) == (layout in good)
    assert checked is None or "\n" not in checked


def test_a_file_is_not_an_image_folder(tmp_path: Path) -> None:
    options = {"path": put_images(tmp_path, "1.png") + "/1.png"}
    assert outcome("image_folder", options, load=False) == outcome("image_folder", options, load=True) is not None


@pytest.mark.parametrize("key", [None, "x_train", "y_test"])
def test_the_check_of_an_array_file_looks_for_its_keys(tmp_path: Path, key: str | None) -> None:
    arrays = {f"{kind}_{split}": np.zeros((2, 4, 4), np.uint8) if kind == "x" else np.arange(2)
              for kind in "xy" for split in ("train", "test")}  # fmt: skip
    arrays.pop(key, None) if key else None
    np.savez(tmp_path / "own.npz", **arrays)  # type: ignore[arg-type]
    options = {"path": str(tmp_path / "own.npz")}
    checked = outcome("arrays", options, load=False)
    assert checked == outcome("arrays", options, load=True)
    assert (checked is None) == (key is None)


def test_the_check_of_another_file_agrees_with_loading_it(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no archive")
    np.save(tmp_path / "single.npy", np.zeros(3))
    for name in ("text.npz", "single.npy", "absent.npz"):
        options = {"path": str(tmp_path / name)}
        checked = outcome("arrays", options, load=False)
        assert checked is not None
        assert checked == outcome("arrays", options, load=True)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion_mnist"])
def test_files_that_may_be_downloaded_are_not_required(tmp_path: Path, name: str) -> None:
    check_data(Data(name=name, options={"root": str(tmp_path), "download": True}))
    with pytest.raises(DataError, match="or EDGEMATE_DATA to a folder that holds it"):
        check_data(Data(name=name, options={"root": str(tmp_path), "download": False}))


IMAGENETTE = (
    "tench English_springer cassette_player chain_saw church French_horn garbage_truck gas_pump golf_ball parachute"
)
TREES = {
    "cub200": trees.cub200,
    "fgvc_aircraft": trees.fgvc_aircraft,
    "imagenet": kaggle,
    "imagenette": split_folders("imagenette", "val", IMAGENETTE),
    "stanford_dogs": trees.stanford_dogs,
    "tiny_imagenet": trees.tiny_imagenet,
    "trashnet": split_folders("trashnet", "test", "cardboard glass metal paper plastic trash"),
}
# What is removed from a whole folder, and what the error says of it.
REMOVED = [
    *(("cub200", place, f"{place} is missing") for place in ("images", "images.txt", "image_class_labels.txt")),
    *(("cub200", place, f"{place} is missing") for place in ("train_test_split.txt", "classes.txt")),
    *(("fgvc_aircraft", place, f"{place} is missing") for place in ("images", "variants.txt")),
    ("fgvc_aircraft", "images_variant_val.txt", "images_variant_val.txt is missing"),
    ("imagenet", "ILSVRC/Data/CLS-LOC/train", "CLS-LOC/train is missing"),
    ("imagenet", "ILSVRC/Data/CLS-LOC/val", "CLS-LOC/val is missing"),
    ("imagenet", "LOC_val_solution.csv", "there are no labels for its images"),
    ("imagenette", "train", "imagenette/train is missing"),
    ("imagenette", "val", "imagenette/val is missing"),
    ("imagenette", "val/church", "is missing; every class must have a folder"),
    *(("stanford_dogs", place, f"{place} is missing") for place in ("Images", "train_list.mat", "test_list.mat")),
    *(("tiny_imagenet", place, f"{place} is missing") for place in ("train", "val", "words.txt")),
    *(("tiny_imagenet", place, f"{place} is missing") for place in ("val/val_annotations.txt", "val/images")),
    ("trashnet", "test", "trashnet/test is missing"),
    ("trashnet", "train/glass", "train/glass: is missing; every class must have a folder"),
]


@pytest.mark.parametrize(("name", "place", "problem"), REMOVED)
def test_the_check_of_an_official_folder_agrees_with_loading_it(
    tmp_path: Path, name: str, place: str, problem: str
) -> None:
    pytest.importorskip("scipy")
    folder, options = TREES[name](tmp_path), {"root": str(tmp_path)}
    assert outcome(name, options, load=False) is outcome(name, options, load=True) is None
    gone = folder / place
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    checked = outcome(name, options, load=False)
    assert checked == outcome(name, options, load=True)
    assert checked is not None
    assert problem in checked
    assert str(folder) in checked


@pytest.mark.parametrize("name", TREES)
def test_a_missing_dataset_says_where_to_get_it_and_how_its_folder_looks(tmp_path: Path, name: str) -> None:
    message = outcome(name, {"root": str(tmp_path)}, load=False)
    assert message is not None
    assert "\n" not in message
    for part in (f"dataset {name}", str(tmp_path), "://", "holds", "data.options.root", "EDGEMATE_DATA"):
        assert part in message
    assert message == outcome(name, {"root": str(tmp_path)}, load=True)


def test_the_second_domain_is_checked_too() -> None:
    second = Unlabeled(name="arrays", options={"path": "nowhere.npz"})
    with pytest.raises(DataError, match=r"nowhere\.npz"):
        check_data(Data(name="digits", unlabeled=second))
