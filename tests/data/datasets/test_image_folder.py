from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from real_data import require
from toy_data import prepare, write_folders, write_image

from edgemate.data.datasets.image_folder import check_image_folder, image_folder
from edgemate.data.splits import split
from edgemate.errors import DataError


@pytest.mark.parametrize("held", ["test", "val", "valid", "Validation", "Testing"])
def test_classes_are_the_folders_of_train(tmp_path, held):
    write_folders(tmp_path / "train", ("dog", "cat", "eel"))
    write_folders(tmp_path / held, ("dog", "cat"), per_class=2)
    source = image_folder(path=str(tmp_path))
    assert source.classes == ("cat", "dog", "eel")
    assert source.size is None
    assert source.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert [path.parent.name for path in source.test.paths] == ["cat", "cat", "dog", "dog"]
    assert source.test.labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_beside_a_test_split_val_is_the_calibration_split(tmp_path, val):
    for name, count in (("train", 3), (val, 2), ("test", 1)):
        write_folders(tmp_path / name, per_class=count)
    source = image_folder(path=str(tmp_path))
    for seed in (0, 1):
        splits = split(source, 0.5, seed)
        for chosen, name in ((splits.train, "train"), (splits.calibration, val)):
            assert {source.train.paths[i] for i in chosen} == set((tmp_path / name).rglob("*.png"))
    assert set(source.test.paths) == set((tmp_path / "test").rglob("*.png"))
    assert source.notes == ()


def test_without_a_test_split_val_is_that_and_the_user_is_told(tmp_path):
    for name in ("train", "val"):
        write_folders(tmp_path / name)
    source = image_folder(path=str(tmp_path))
    assert source.calibration is None
    assert source.notes == (f"image_folder {tmp_path} has no test split: val is the test split",)


@pytest.mark.parametrize("inside", ["", "train"])
@given(
    counts=st.lists(st.integers(1, 12), min_size=2, max_size=4), fraction=st.floats(0.05, 0.95), seed=st.integers(0, 99)
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_random_test_split_is_complete_disjoint_stratified_and_seeded(tmp_path, inside, counts, fraction, seed):
    assume(max(counts) >= 3)
    with TemporaryDirectory(dir=tmp_path) as folder:
        root = Path(folder)
        files = [root / inside / f"class {k}" / f"{i}.png" for k, n in enumerate(counts) for i in range(n)]
        for file in files:  # nothing is decoded
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        options = {"path": str(root), "test_fraction": fraction, "test_seed": seed}
        source, again = image_folder(**options), image_folder(**options)
    assert sorted([*source.train.paths, *source.test.paths]) == sorted(files)
    assert (again.train.paths, again.test.paths) == (source.train.paths, source.test.paths)
    for images in (source.train, source.test):
        assert [source.classes[label] for label in images.labels] == [path.parent.name for path in images.paths]
    tested = np.bincount(source.test.labels, minlength=len(counts))
    for n, held in zip(counts, tested, strict=True):
        assert (0 if n == 1 else 1) <= held <= max(n - 1, 0)
    # One image per class is due whatever the fraction; beyond that, every class gives its part.
    if round(sum(counts) * fraction) >= sum(n >= 2 for n in counts) and min(counts) >= 2:
        assert all(abs(held - n * fraction) <= 2 for n, held in zip(counts, tested, strict=True))


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
    write_image(tmp_path / "__MACOSX" / "cat" / "a.png")
    (tmp_path / "Thumbs.db").touch()
    source = image_folder(path=str(tmp_path), test_fraction=0.4)
    found = sorted(path.name for path in [*source.train.paths, *source.test.paths])
    assert found == ["0.png", "0.png", "1.png", "1.png", "A.JPEG"]
    ignored = {path.relative_to(tmp_path).as_posix() for path in source.ignored}
    assert ignored == {"cat/.hidden", ".cache", "cat/notes.txt", "__MACOSX", "Thumbs.db"}


def test_names_with_spaces_and_in_either_unicode_form_are_classes(tmp_path):
    composed, decomposed = "Zo\u00eb 1", "Zoe\u0308 1"
    write_folders(tmp_path / "train", (composed, "zèbre 縞"))
    write_folders(tmp_path / "test", (decomposed, "zèbre 縞"))
    source = image_folder(path=str(tmp_path))
    assert source.classes == (composed, "zèbre 縞")
    assert np.bincount(source.test.labels).tolist() == [4, 4]
    write_folders(tmp_path / "train", (decomposed,))
    with pytest.raises(DataError, match="in different Unicode forms; merge them"):
        image_folder(path=str(tmp_path))


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
    write_image(tmp_path / "root" / "loose.png")
    assert "has images but no folders; one per class is required; move its images" in message()
    (tmp_path / "root" / "train" / "cat").mkdir(parents=True)
    (tmp_path / "root" / "train" / "cat" / "a.heic").touch()
    write_image(tmp_path / "root" / "test" / "cta" / "a.png")
    assert "cat has no images, but 1 × .heic; add some (.bmp, " in message()
    (tmp_path / "root" / "train" / "dog").mkdir(parents=True)
    assert "train has no images in its 2 folders" in message()
    write_image(tmp_path / "root" / "train" / "cat" / "a.png")
    assert "dog has no images; add some (.bmp, " in message()
    for name in ("eel", "fox"):
        (tmp_path / "root" / "train" / name).mkdir()
    assert "has no images in 3 of 4 class folders (dog, eel, fox); add some" in message()
    for name in ("dog", "eel", "fox"):
        (tmp_path / "root" / "train" / name).rmdir()
    assert message().endswith(
        "cta is a class that train/ does not have; add its images to train/ or remove the folder (did you mean 'cat'?)"
    )
    (tmp_path / "root" / "test" / "cta").rename(tmp_path / "root" / "test" / "cat")
    assert message().endswith("has one class only (cat); a classifier needs two or more")
    write_image(tmp_path / "root" / "train" / "dog" / "a.png")
    with pytest.raises(DataError, match="no class has 2 training images, one each for training and calibration; add"):
        check_image_folder(path=str(tmp_path / "root"))
    (tmp_path / "root" / "val").mkdir()
    (tmp_path / "root" / "valid").mkdir()
    assert "has val/ and valid/, both for val; keep one of them" in message()
    (tmp_path / "root" / "valid").rmdir()
    write_image(tmp_path / "root" / "val" / "a.png")
    assert "if they have no labels, move val/ elsewhere" in message()
    (tmp_path / "root" / "train").rename(tmp_path / "elsewhere")
    assert "has test/ and val/ but no train/" in message()


def test_a_class_whose_name_cannot_be_written_to_a_file_is_refused(tmp_path):
    for name in (b"cat", b"gl\xfcck"):  # Latin-1
        (tmp_path / os.fsdecode(name)).mkdir()
    with pytest.raises(DataError, match=r"has a folder b'gl\\xfcck', which is not UTF-8; rename it"):
        check_image_folder(path=str(tmp_path))


def test_a_folder_around_the_dataset_is_recognized(tmp_path):
    for name in ("train", "test"):
        write_folders(tmp_path / "images" / name)
    with pytest.raises(DataError, match=r"one class only \(images\).*set data.options.path to it"):
        image_folder(path=str(tmp_path))


def test_the_only_image_of_a_class_is_trained_on_and_the_user_is_told(tmp_path):
    write_folders(tmp_path, ("cat", "dog"), per_class=6)
    write_image(tmp_path / "eel" / "only.png")
    data = prepare("image_folder", options={"path": str(tmp_path)}, image_size=8)
    assert (data.source.train.labels[data.splits.train] == 2).sum() == 1
    assert any(note.startswith("one image only, in training, of 1 class (eel)") for note in data.notes)


def test_real_imagenette():
    root = require("imagenette")
    source = image_folder(path=str(root / "imagenette"))
    assert len(source.classes) == 10
    assert len(source.train) >= len(source.test) > 0
    assert source.train.image(0).mode == "RGB"
