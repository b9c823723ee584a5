from __future__ import annotations

from pathlib import Path

import pytest
from told import Told
from toy_data import array_source, prepare, write_folders

from edgemate.config import Unlabeled
from edgemate.data import load_source
from edgemate.data.damaged import find_damaged, require_whole
from edgemate.data.datasets.image_folder import image_folder
from edgemate.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split, count in (("train", 12), ("test", 4)):
        write_folders(tmp_path / "images" / split, per_class=count)
    return tmp_path / "images"


def build(path: Path, **options):
    return prepare("image_folder", options={"path": str(path)}, image_size=8, **options)


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-100])
    return path


def test_whole_files_pass(folder):
    told = Told()
    build(folder, progress=told)
    assert told[-1] == "checking image files, file: 32 of 32"


def test_damaged_files_of_every_split_are_named_together_before_anything_is_decoded(folder):
    test = cut(folder / "test" / "cat" / "1.png")
    first, second = (folder / "train" / "dog" / f"{i}.png" for i in (3, 7))
    first.write_text("no image")
    second.write_bytes(b"")
    with pytest.raises(DataError) as caught:
        build(folder)
    start, *lines = str(caught.value).splitlines()
    assert "test 1 of 8" in start
    assert "data.skip_damaged=true" in start
    assert sorted(line.strip().split(": ")[0] for line in lines) == sorted(map(str, (test, first, second)))


def test_of_many_damaged_files_the_first_ten_are_named_and_all_counted(folder):
    for path in (folder / "train").rglob("*.png"):
        path.write_text("no image")
    source = image_folder(path=str(folder))
    with pytest.raises(DataError) as caught:
        require_whole({"train": (source.train, range(24)), "test": (source.test, range(8))})
    start, *lines = str(caught.value).splitlines()
    assert start.startswith("damaged image files: train 24 of 24;")
    assert len(lines) == 11
    assert lines[-1].strip() == "and 14 more"


def test_files_excluded_by_a_limit_are_not_checked(folder):
    used = build(folder, train_limit=4)
    kept = {used.source.train.paths[i] for i in (*used.splits.train, *used.splits.calibration)}
    for path in set(used.source.train.paths) - kept:
        path.write_text("no image")
    build(folder, train_limit=4)
    with pytest.raises(DataError, match=r"train 1\d of"):
        build(folder)


def test_the_unlabeled_domain_is_checked_too(folder, tmp_path):
    for split in ("train", "test"):
        write_folders(tmp_path / "other" / split, per_class=3)
    plan = Unlabeled(name="image_folder", options={"path": str(tmp_path / "other")})
    build(folder, unlabeled=plan)
    cut(tmp_path / "other" / "train" / "cat" / "0.png")
    cut(tmp_path / "other" / "test" / "dog" / "2.png")
    with pytest.raises(DataError, match="unlabeled 1 of 6, target_test 1 of 6"):
        build(folder, unlabeled=plan)


def test_images_in_memory_are_skipped():
    source = array_source()
    require_whole({"train": (source.train, range(40))})


def test_damaged_files_are_left_out_where_the_recipe_says_so(folder):
    damaged = {cut(folder / "train" / "cat" / "5.png"), cut(folder / "test" / "dog" / "0.png")}
    data = build(folder, skip_damaged=True)
    assert set(data.left_out) == damaged
    assert (len(data.source.train), len(data.source.test)) == (23, 7)
    assert not damaged & {*data.source.train.paths, *data.source.test.paths}
    assert len(data.source.train.labels) == 23


def test_a_calibration_split_of_the_dataset_loses_its_damaged_files_only(folder):
    write_folders(folder / "val", per_class=3)
    whole = build(folder)
    damaged = {cut(folder / "train" / "cat" / "5.png"), cut(folder / "val" / "dog" / "1.png")}

    def chosen(data, split):
        return {data.source.train.paths[i] for i in getattr(data.splits, split)}

    data = build(folder, skip_damaged=True)
    for split in ("train", "calibration"):
        assert chosen(data, split) == chosen(whole, split) - damaged


def test_a_random_test_split_does_not_depend_on_the_damage(folder):
    before = image_folder(path=str(folder / "train"))
    damaged = cut(before.train.paths[3])
    after = load_source("image_folder", {"path": str(folder / "train")}, skip_damaged=True)
    assert after.test.paths == before.test.paths
    assert after.left_out == (damaged,)


def test_a_class_of_damaged_files_only_is_an_error(folder):
    for path in (folder / "test" / "cat").iterdir():
        path.write_text("no image")
    with pytest.raises(DataError, match="class 'cat' has damaged images only"):
        build(folder, skip_damaged=True)


def test_many_files_are_checked_in_order(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(3000)]
    told = Told()
    found = find_damaged(paths, told)
    assert list(found) == list(range(3000))
    assert found[2999] == f"{paths[2999]}: no such file"
    assert told[1:] == [f"checking image files, file: {done} of 3000" for done in (2048, 3000)]
