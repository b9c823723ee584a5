from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from told import Told
from toy_data import archive, pixels, write_folders, write_image

from edgemate.config import Data
from edgemate.data.inspection import inspect_data
from edgemate.errors import DataError


@pytest.fixture
def folder(tmp_path):
    write_folders(tmp_path / "images" / "train", per_class=12)
    for k, name in enumerate(("cat", "dog")):
        for i in range(3):
            write_image(tmp_path / "images" / "test" / name / f"{i}.png", seed=100 + 10 * k + i)
    return tmp_path / "images"


def report_on(path, **options):
    return inspect_data(Data(name="image_folder", options={"path": str(path)}, **options)).to_json()


def test_images_are_counted_per_split_and_class(folder):
    found = report_on(folder, calibration_fraction=0.25)
    assert {name: split["images"] for name, split in found["splits"].items()} == {
        "train": 18,
        "calibration": 6,
        "test": 6,
    }
    assert found["splits"]["test"]["per_class"] == {"cat": 3, "dog": 3}
    assert found["kinds"] == {"PNG RGB": 30}
    widths = sorted([*(20 + 3 * i for i in range(12)), *(20 + 3 * i for i in range(12)), *[20] * 6])
    assert found["width"] == [20, float(np.median(widths)), 53]
    assert (found["damaged"], found["duplicates"], found["with_transparency"]) == ([], [], 0)


def test_damage_within_a_file_is_found_and_every_damaged_file_named(folder):
    path = folder / "test" / "dog" / "1.png"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255  # its header and end stay
    path.write_bytes(content)
    text = folder / "train" / "cat" / "0.png"
    text.write_text("no image")
    found = {entry["image"]: entry for entry in report_on(folder)["damaged"]}
    assert found.keys() == {str(path), str(text)}
    assert found[str(path)]["split"] == "test"
    assert "not an image" in found[str(text)]["problem"]


def test_the_same_pixels_in_two_splits_are_found_however_they_are_stored(folder):
    original = folder / "train" / "dog" / "2.png"
    with Image.open(original) as image:
        image.save(folder / "test" / "dog" / "same.bmp")
    (folder / "train" / "dog" / "again.png").write_bytes((folder / "train" / "dog" / "3.png").read_bytes())
    [group] = [
        group
        for group in report_on(folder, calibration_fraction=0.01)["duplicates"]
        if any(one["split"] == "test" for one in group)
    ]
    assert {one["image"] for one in group} == {str(original), str(folder / "test" / "dog" / "same.bmp")}


def test_sizes_are_upright_and_transparency_is_reported(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels(10, 300, 4)).save(folder / "train" / "cat" / "turned.png", exif=exif)
    found = report_on(folder)
    assert found["height"][2] == 300
    assert found["with_transparency"] == 1
    assert found["kinds"]["PNG RGBA"] == 1


def test_classes_with_few_images_are_named(folder):
    found = report_on(folder, calibration_fraction=0.01)["few"]
    assert {"class": "cat", "split": "test", "images": 3} in found
    assert not any(entry["split"] == "train" for entry in found)


def test_images_in_memory_are_checked_too(tmp_path):
    x_train, x_test = pixels(12, 8, 8, 3), pixels(6, 8, 8, 3, seed=1)
    x_test[4] = x_train[7]
    path = archive(tmp_path / "a.npz", x_train=x_train, x_test=x_test)
    found = inspect_data(Data(name="arrays", options={"path": str(path)})).to_json()
    [group] = found["duplicates"]
    assert {one["image"].split()[1] for one in group} == {"7", "4"}
    assert {"split": "test", "image": "test 4"} in group
    assert found["kinds"] == {"array RGB": 18}
    assert found["width"] == [8, 8, 8]


def test_the_unlabeled_domain_is_checked_too(folder, tmp_path):
    for split in ("train", "test"):
        write_folders(tmp_path / "other" / split, per_class=3)
    (tmp_path / "other" / "test" / "cat" / "0.png").write_text("no image")
    other = {"name": "image_folder", "options": {"path": str(tmp_path / "other")}}
    found = report_on(folder, unlabeled=other)
    assert found["splits"]["unlabeled"]["images"] == 6
    assert [entry["split"] for entry in found["damaged"]] == ["target_test"]
    write_image(tmp_path / "other" / "train" / "eel" / "0.png")
    with pytest.raises(DataError, match="only one of them has 'eel'"):
        report_on(folder, unlabeled=other)


def test_the_same_pixels_with_two_labels_are_found_within_a_split_too(folder):
    cat, dog = (folder / "test" / name / "copy.png" for name in ("cat", "dog"))
    write_image(cat, seed=7777)
    dog.write_bytes(cat.read_bytes())
    report = report_on(folder)
    assert report["conflicts"] == [
        [{"split": "test", "image": str(path), "class": path.parent.name} for path in (cat, dog)]
    ]
    assert report["duplicates"] == []


def test_the_smallest_and_the_largest_class_of_every_split_are_named(folder):
    for i in range(4):
        write_image(folder / "test" / "dog" / f"more{i}.png", seed=500 + i)
    assert report_on(folder)["balance"]["test"] == {"smallest": "cat", "largest": "dog"}


def test_ignored_files_are_listed_and_what_training_says_too(folder):
    (folder / "train" / "cat" / "._0.png").touch()
    (folder / "__MACOSX").mkdir()
    write_image(folder / "train" / "eel" / "0.png")
    found = report_on(folder)
    assert set(found["ignored"]) == {str(folder / "train" / "cat" / "._0.png"), str(folder / "__MACOSX")}
    assert f"image_folder {folder}: ignored, being hidden or no images: 1 × __MACOSX, 1 × hidden .png" in found["notes"]
    assert any(note.startswith("one image only, in training, of 1 class (eel)") for note in found["notes"])


def test_files_left_out_are_not_reported_as_damaged(folder):
    path = folder / "train" / "cat" / "0.png"
    path.write_text("no image")
    section = Data(name="image_folder", options={"path": str(folder)}, skip_damaged=True)
    found = inspect_data(section).to_json()
    assert (found["damaged"], found["left_out"]) == ([], [str(path)])


def test_progress_is_reported(folder):
    told = Told()
    inspect_data(Data(name="image_folder", options={"path": str(folder)}), told)
    assert told[-1] == "decoding, image: 30 of 30"


def test_torch_is_not_needed():
    script = (
        "import sys, edgemate.data.inspection, edgemate.data.datasets.image_folder; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_sliver_that_would_become_too_large_is_named_before_training(folder):
    path = folder / "test" / "cat" / "sliver.png"
    Image.new("RGB", (40_000, 1)).save(path)
    assert report_on(folder)["damaged"] == []
    (found,) = report_on(folder, image_size=224)["damaged"]
    assert found["problem"].startswith(f"{path}: 40000x1 would become 10240000x256, which is too large; the limit is")
