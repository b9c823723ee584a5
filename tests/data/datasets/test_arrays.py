from __future__ import annotations

import numpy as np
import pytest
from toy_data import archive, pixels

from edgemate.data.datasets.arrays import arrays
from edgemate.errors import DataError


def test_a_good_file_is_read_whole(tmp_path):
    source = arrays(path=str(archive(tmp_path / "a.npz")))
    assert (source.classes, source.channels, source.size) == (("a", "b", "c"), 3, (8, 8))
    np.testing.assert_array_equal(source.train.array, pixels(12, 8, 8, 3))
    assert source.test.labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_gray_images_may_lack_the_channel_and_classes_may_be_left_out(tmp_path):
    path = archive(tmp_path / "a.npz", x_train=pixels(12, 9, 7), x_test=pixels(6, 9, 7, 1), classes=None)
    source = arrays(path=str(path))
    assert (source.classes, source.channels, source.size) == (("0", "1", "2"), 1, (9, 7))
    assert source.train.array.shape == (12, 9, 7, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64])
def test_labels_of_any_integer_type_become_int64(tmp_path, dtype):
    path = archive(tmp_path / "a.npz", y_train=(np.arange(12) % 3).astype(dtype))
    assert arrays(path=str(path)).train.labels.dtype == np.int64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": None}, "x_train is missing"),
        ({"y_test": None}, "y_test is missing"),
        ({"x_train": pixels(12, 8, 8, 3).astype(np.float32)}, "x_train is float32; images must be uint8"),
        ({"x_train": pixels(12, 8)}, r"x_train has shape \(12, 8\)"),
        ({"x_test": pixels(6, 3, 8, 8)}, r"x_test has shape \(6, 3, 8, 8\)"),
        ({"x_test": pixels(0, 8, 8, 3), "y_test": np.arange(0)}, r"x_test has shape \(0, 8, 8, 3\)"),
        ({"x_test": pixels(6, 9, 8, 3)}, r"x_train holds images of shape \(8, 8, 3\), x_test of \(9, 8, 3\)"),
        ({"x_train": np.array([{}] * 12)}, "x_train cannot be read .*is of dtype object"),
        ({"y_train": np.zeros(12)}, "y_train is float64; labels must be integers"),
        ({"y_train": np.zeros(12, dtype=bool)}, "y_train is bool; labels must be integers"),
        ({"y_train": np.arange(11)}, r"y_train has shape \(11,\); \(12,\) is required for x_train"),
        ({"y_test": np.zeros((6, 1), dtype=int)}, r"y_test has shape \(6, 1\); \(6,\) is required for x_test"),
        ({"y_train": np.arange(12)}, "y_train has labels from 0 to 11; labels must be from 0 to 2"),
        ({"y_test": np.arange(6) - 1, "classes": None}, "y_test has labels from -1 to 4; labels must be 0 or more"),
        ({"y_train": np.arange(12) * 10**9, "classes": None}, "y_train has the label 11000000000; number the classes"),
        ({"classes": np.array([1, 2, 3])}, r"classes is int64 of shape \(3,\); strings"),
        ({"classes": np.array([["a", "b", "c"]])}, "classes is"),
        ({"classes": np.array(["a", "b", "b"])}, "classes has a name twice"),
        ({"classes": np.array(["a", "b", None])}, "classes cannot be read .*is of dtype object"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_the_key(tmp_path, changes, message):
    path = archive(tmp_path / "a.npz", **changes)
    with pytest.raises(DataError, match=message) as caught:
        arrays(path=str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def single_array(path):
    with path.open("wb") as target:
        np.save(target, np.arange(3))


def truncated(path):
    content = archive(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])


def damaged(path):
    content = bytearray(archive(path).read_bytes())
    content[400] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text("no archive"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\x80\x04."),
        lambda path: path.mkdir(),
        single_array,
        truncated,
        damaged,
    ],
    ids=["text", "empty", "pickle", "folder", "npy", "truncated", "damaged"],
)
def test_a_file_that_is_not_an_archive_is_one_line_that_names_it(tmp_path, spoil):
    path = tmp_path / "a.npz"
    spoil(path)
    with pytest.raises(DataError) as caught:
        arrays(path=str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_single_class_is_refused(tmp_path):
    path = archive(tmp_path / "a.npz", y_train=np.zeros(12, dtype=int), y_test=np.zeros(6, dtype=int), classes=None)
    with pytest.raises(DataError, match=r"arrays has one class only \(0\); a classifier needs two or more"):
        arrays(path=str(path))


def test_an_archive_that_zipfile_does_not_support_is_one_line(tmp_path):
    path = archive(tmp_path / "a.npz")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 6] = 107  # the version that is needed to read a member: 10.7
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read as .npz \(.*zip file version 10.7\)"):
        arrays(path=str(path))
