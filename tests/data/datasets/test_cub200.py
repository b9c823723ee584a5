from __future__ import annotations

import pytest
from dataset_trees import cub200 as tree
from dataset_trees import write_lines

from edgemate.data.datasets.cub200 import cub200
from edgemate.errors import DataError


def test_splits_and_names_are_the_official_ones(tmp_path):
    folder = tree(tmp_path)
    source = cub200(root=str(tmp_path))
    assert source.classes == ("Black footed Albatross", "Laysan Albatross")
    assert (source.channels, source.size) == (3, None)
    assert [path.name for path in source.train.paths] == [
        "Black_Footed_Albatross_0009_34.jpg",
        "Black_Footed_Albatross_0002_55.jpg",
        "Laysan_Albatross_0002_1027.jpg",
    ]
    assert source.train.labels.tolist() == [0, 0, 1]
    assert source.test.labels.tolist() == [0, 1]
    assert source.test.paths[1] == folder / "images" / "002.Laysan_Albatross" / "Laysan_Albatross_0003_1033.jpg"
    assert source.test.image(1).mode == "RGB"


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("train_test_split.txt", ["1 0", "2 1", "3 1", "4 1"], r"train_test_split\.txt: .*image 5"),
        ("image_class_labels.txt", ["1 1", "2 1", "3 1", "4 2", "6 2"], r"image_class_labels\.txt: .*image 5"),
        ("train_test_split.txt", ["1 0", "2 1", "3 2", "4 1", "5 1"], "image 3 has '2'; 1 .* or 0"),
        ("image_class_labels.txt", ["1 1", "2 1", "3 1", "4 3", "5 2"], r"class 3 is not in classes\.txt"),
        ("images.txt", ["one a.jpg"], r"images\.txt: 'one' is not a number"),
        ("classes.txt", ["1"], r"classes\.txt, line 1: is '1'; NUMBER NAME is required"),
    ],
)
def test_a_list_that_does_not_fit_is_one_line_that_names_it(tmp_path, name, lines, message):
    write_lines(tree(tmp_path) / name, *lines)
    with pytest.raises(DataError, match=message) as caught:
        cub200(root=str(tmp_path))
    assert "\n" not in str(caught.value)
