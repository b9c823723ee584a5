from __future__ import annotations

from pathlib import Path

import pytest
from dataset_trees import write_jpegs
from real_data import require

from edgemate.data.datasets.imagenette import imagenette
from edgemate.errors import DataError

IDS = [
    "n01440764",
    "n02102040",
    "n02979186",
    "n03000684",
    "n03028079",
    "n03394916",
    "n03417042",
    "n03425413",
    "n03445777",
    "n03888257",
]
CLASSES = (
    "tench",
    "English springer",
    "cassette player",
    "chain saw",
    "church",
    "French horn",
    "garbage truck",
    "gas pump",
    "golf ball",
    "parachute",
)


def tree(folder: Path, names: list[str]) -> Path:
    for place, name in enumerate(names):
        write_jpegs(folder / "train" / name, f"{IDS[place]}_1.JPEG", f"{IDS[place]}_2.JPEG")
        write_jpegs(folder / "val" / name, f"{IDS[place]}_3.JPEG")
    return folder


@pytest.mark.parametrize(
    "names",
    [IDS, list(CLASSES), [name.replace(" ", "_") for name in CLASSES]],
    ids=["ids", "names", "underscores"],
)
def test_labels_and_names_do_not_depend_on_how_the_folders_are_named(tmp_path, names):
    tree(tmp_path / "imagenette", names)
    source = imagenette(root=str(tmp_path))
    assert source.classes == CLASSES
    assert [path.name for path in source.test.paths] == [f"{key}_3.JPEG" for key in IDS]
    assert source.test.labels.tolist() == list(range(10))
    assert source.train.labels.tolist() == [k for k in range(10) for _ in range(2)]


def test_the_archives_own_folder_is_found(tmp_path):
    for name in ("imagenette2-160", "imagenette2-320"):
        tree(tmp_path / name, IDS)
    assert imagenette(root=str(tmp_path)).train.paths[0].is_relative_to(tmp_path / "imagenette2-320")


def test_another_class_and_a_class_that_is_there_twice_are_named(tmp_path):
    folder = tree(tmp_path / "imagenette", IDS)
    write_jpegs(folder / "val" / "tench", "a.JPEG")
    with pytest.raises(DataError, match=r"tench: has the same class as .*n01440764"):
        imagenette(root=str(tmp_path))
    write_jpegs(folder / "train" / "churhc", "a.JPEG")
    with pytest.raises(DataError, match="churhc: is of no known class; did you mean 'church'"):
        imagenette(root=str(tmp_path))


def test_real_imagenette():
    require("imagenette")
    source = imagenette()
    assert source.classes == CLASSES
    assert len(source.train) > len(source.test) > 0
    assert set(source.test.labels.tolist()) == set(range(10))
    assert source.train.image(0).mode == "RGB"
