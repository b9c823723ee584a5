from __future__ import annotations

import numpy as np
import pytest
from real_data import require
from toy_data import write_folders, write_image

from edgemate.data.datasets.image_folder import image_folder
from edgemate.errors import DataError


@pytest.mark.parametrize("held", ["test", "val"])
def test_classes_are_the_folders_of_train(tmp_path, held):
    write_folders(tmp_path / "train", ("dog", "cat", "eel"))
    write_folders(tmp_path / held, ("dog", "cat"), per_class=2)
    source = image_folder(path=str(tmp_path))
    assert source.classes == ("cat", "dog", "eel")
    assert source.size is None
    assert source.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert [path.parent.name for path in source.test.paths] == ["cat", "cat", "dog", "dog"]
    assert source.test.labels.tolist() == [0, 0, 1, 1]


def test_test_takes_precedence_over_val(tmp_path):
    for name, count in (("train", 3), ("val", 2), ("test", 1)):
        write_folders(tmp_path / name, per_class=count)
    assert len(image_folder(path=str(tmp_path)).test) == 2


def test_a_missing_test_split_is_drawn(tmp_path):
    write_folders(tmp_path, ("cat", "dog"), per_class=8)
    source = image_folder(path=str(tmp_path), test_fraction=0.25)
    assert source.classes == ("cat", "dog")
    assert np.bincount(source.test.labels).tolist() == [2, 2]
    assert not set(source.train.paths) & set(source.test.paths)
    assert len(source.train) == 12


def test_images_in_subfolders_and_of_any_case_are_found_and_other_files_skipped(tmp_path):
    write_folders(tmp_path, per_class=2)
    write_image(tmp_path / "cat" / "deep" / "er" / "A.JPEG")
    write_image(tmp_path / "cat" / ".hidden" / "a.png")
    write_image(tmp_path / ".cache" / "a.png")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    source = image_folder(path=str(tmp_path), test_fraction=0.4)
    found = sorted(path.name for path in [*source.train.paths, *source.test.paths])
    assert found == ["0.png", "0.png", "1.png", "1.png", "A.JPEG"]


def test_channels_decide_how_images_are_decoded(tmp_path):
    write_folders(tmp_path)
    assert image_folder(path=str(tmp_path), channels=1).train.image(0).mode == "L"


def test_every_wrong_layout_is_one_line(tmp_path):
    def message():
        with pytest.raises(DataError) as caught:
            image_folder(path=str(tmp_path / "root"))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no such file or folder" in message()
    (tmp_path / "root").touch()
    assert "is not a folder" in message()
    (tmp_path / "root").unlink()
    (tmp_path / "root").mkdir()
    assert "has no folders" in message()
    (tmp_path / "root" / "train" / "cat").mkdir(parents=True)
    assert "neither test/ nor val/" in message()
    write_image(tmp_path / "root" / "test" / "cta" / "a.png")
    assert "cat has no images" in message()
    write_image(tmp_path / "root" / "train" / "cat" / "a.png")
    assert "cta is a class that train/ does not have; did you mean 'cat'?" in message()


def test_real_imagenette():
    root = require("imagenette")
    source = image_folder(path=str(root / "imagenette"))
    assert len(source.classes) == 10
    assert len(source.train) >= len(source.test) > 0
    assert source.train.image(0).mode == "RGB"
