from __future__ import annotations

import numpy as np
import pytest
import toy_data
from PIL import Image

from edgemate.data.source import ArrayImages, DataSource, FileImages
from edgemate.errors import DataError, ImageError


def labels(*values):
    return np.array(values, dtype=np.int64)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_an_image_in_memory_keeps_its_pixels(channels, mode):
    array = toy_data.pixels(2, 5, 7, channels)
    image = ArrayImages(array, labels(0, 1)).image(1)
    assert image.mode == mode
    assert image.size == (7, 5)
    np.testing.assert_array_equal(np.asarray(image).reshape(5, 7, channels), array[1])


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
@pytest.mark.parametrize("stored", ["L", "RGB", "RGBA", "P"])
def test_a_file_is_converted_to_the_channels_asked_for(tmp_path, stored, channels, mode):
    Image.fromarray(toy_data.pixels(5, 7, 3)).convert(stored).save(tmp_path / "a.png")
    assert FileImages([tmp_path / "a.png"], labels(0), channels).image(0).mode == mode


def test_a_file_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(toy_data.pixels(10, 20, 3)).save(tmp_path / "a.jpg", exif=exif)
    assert FileImages([tmp_path / "a.jpg"], labels(0), 3).image(0).size == (10, 20)


def truncated(path):
    toy_data.write_image(path, size=(64, 64))
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text("no image"),
        lambda path: path.write_bytes(b""),
        lambda path: path.mkdir(),
        lambda path: None,
        truncated,
    ],
    ids=["text", "empty", "folder", "missing", "truncated"],
)
def test_an_unreadable_file_is_one_line_that_names_it(tmp_path, spoil):
    path = tmp_path / "broken.png"
    spoil(path)
    with pytest.raises(ImageError) as caught:
        FileImages([path], labels(0), 3).image(0)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_dataset_needs_images_and_labels_that_are_classes():
    some, none = (
        ArrayImages(toy_data.pixels(2, 4, 4, 1), labels(0, 2)),
        ArrayImages(toy_data.pixels(0, 4, 4, 1), labels()),
    )
    with pytest.raises(DataError, match="no test images"):
        DataSource("toy", ("a", "b", "c"), 1, some, none)
    with pytest.raises(DataError, match="training labels are from 0 to 2; with 2 classes they must be from 0 to 1"):
        DataSource("toy", ("a", "b"), 1, some, some)
