from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from dataset_trees import stanford_dogs
from toy_data import prepare

from edgemate.data.datasets._official import FileNames, images_in, rows
from edgemate.errors import DataError


def test_file_names_are_a_sequence_of_paths_and_small():
    names = FileNames(Path("root"), [f"class/{i}.jpg" for i in range(1000)])
    assert len(names) == 1000
    assert names[3] == names[np.int64(3)] == Path("root/class/3.jpg")
    assert names[-1] == Path("root/class/999.jpg")
    assert list(names[1:3]) == [Path("root/class/1.jpg"), Path("root/class/2.jpg")]
    assert len(pickle.dumps(names)) < 30_000
    assert pickle.loads(pickle.dumps(names))[7] == names[7]  # noqa: S301 - as worker processes get them


@pytest.mark.parametrize("workers", [0, 1])
def test_their_images_are_loaded_in_batches(tmp_path, workers):
    pytest.importorskip("scipy")
    stanford_dogs(tmp_path)
    data = prepare(
        "stanford_dogs",
        options={"root": str(tmp_path)},
        image_size=8,
        calibration_fraction=0.5,
        batch_size=2,
        workers=workers,
    )
    assert [images.shape for images, _ in data.train_loader()] == [(2, 3, 8, 8)]
    assert [labels.tolist() for _, labels in data.test_loader()] == [[1, 0]]


def test_only_image_files_directly_in_a_folder_are_listed_in_order(tmp_path):
    for name in ("b.JPEG", "a.png", ".hidden.jpg", "notes.txt", "._a.png"):
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    assert images_in(tmp_path) == ["a.png", "b.JPEG"]


def test_the_last_column_takes_the_rest_and_empty_lines_are_skipped(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("1 Boeing 707 \r\n\r\n2\tA\n", "utf-8")
    assert list(rows(path, "NUMBER NAME")) == [["1", "Boeing 707"], ["2", "A"]]


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b"1\n"], ids=["missing", "not text", "a column short"])
def test_a_list_that_cannot_be_read_is_one_line_that_names_it(tmp_path, content):
    path = tmp_path / "list.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(rows(path, "NUMBER NAME"))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
