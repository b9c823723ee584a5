from __future__ import annotations

import numpy as np
import pytest
from dataset_trees import cells
from dataset_trees import stanford_dogs as tree

from edgemate.data.datasets.stanford_dogs import check_stanford_dogs, stanford_dogs
from edgemate.errors import DataError

savemat = pytest.importorskip("scipy.io").savemat


def test_splits_and_names_are_the_official_ones(tmp_path):
    folder = tree(tmp_path)
    source = stanford_dogs(root=str(tmp_path))
    assert source.classes == ("Chihuahua", "flat-coated retriever")
    assert (source.channels, source.size) == (3, None)
    assert source.train.labels.tolist() == [0, 0, 1, 1]
    assert source.train.labels.dtype == np.int64
    assert source.train.paths[0] == folder / "Images" / "n02085620-Chihuahua" / "n02085620_7.jpg"
    assert source.test.labels.tolist() == [1, 0]
    assert source.test.image(0).mode == "RGB"


def test_the_lists_may_be_in_their_own_folder(tmp_path):
    folder = tree(tmp_path)
    (folder / "lists").mkdir()
    for path in folder.glob("*.mat"):
        path.rename(folder / "lists" / path.name)
    check_stanford_dogs(root=str(tmp_path))
    assert len(stanford_dogs(root=str(tmp_path)).train) == 4


def test_a_list_of_one_image_is_read(tmp_path):
    folder = tree(tmp_path)
    savemat(folder / "test_list.mat", {"file_list": cells(["n02085620-Chihuahua/n02085620_3.jpg"]), "labels": [[1]]})
    assert stanford_dogs(root=str(tmp_path)).test.labels.tolist() == [0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no MATLAB file", r"test_list\.mat: cannot be read as a \.mat file"),
        (b"", r"test_list\.mat: cannot be read as a \.mat file"),
        ({"labels": [[1]]}, r"test_list\.mat: has no variable file_list"),
        ({"file_list": cells(["a/1.jpg", "a/2.jpg"]), "labels": [[1]]}, "do not have one entry per image"),
        (
            {"file_list": cells(["n1-pug/1.jpg"]), "labels": [[2]]},
            "label 2 is given to .*retriever and in n1",
        ),
        ({"file_list": cells(["n1-pug/1.jpg"]), "labels": [[4]]}, "from 1 to 4, with gaps"),
    ],
)
def test_a_damaged_list_is_one_line_that_names_it(tmp_path, content, message):
    path = tree(tmp_path) / "test_list.mat"
    path.write_bytes(content) if isinstance(content, bytes) else savemat(path, content)
    with pytest.raises(DataError, match=message) as caught:
        stanford_dogs(root=str(tmp_path))
    assert "\n" not in str(caught.value)
