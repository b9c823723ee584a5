from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edgemate.core.input_spec import Resize
from edgemate.core.resizing import center_crop, resize, resized_size
from edgemate.errors import ImageError


def gray(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.arange(1, height * width + 1, dtype=np.uint8).reshape(height, width))


@pytest.mark.parametrize(
    ("size", "expected"), [((30, 40), (27, 36)), ((41, 30), (36, 27)), ((33, 33), (27, 27)), ((31, 90), (27, 78))]
)
def test_the_shorter_side_gets_the_size_and_the_longer_is_rounded_down(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    rule = Resize(mode="shorter_side", size=27)
    assert resized_size(*size, rule) == expected
    assert resize(Image.new("L", size[::-1]), rule).size == expected[::-1]


def test_stretching_ignores_the_aspect_ratio() -> None:
    assert resize(gray(6, 9), Resize(mode="stretch", size=(5, 4))).size == (4, 5)


def test_an_image_of_the_right_size_is_not_copied() -> None:
    image = gray(6, 9)
    assert resize(image, Resize(mode="stretch", size=(6, 9))) is image
    assert resize(image, Resize(mode="shorter_side", size=6)) is image


def test_the_interpolation_is_that_of_the_rule() -> None:
    doubled = resize(gray(2, 2), Resize(mode="stretch", size=(4, 4), interpolation="nearest"))
    np.testing.assert_array_equal(np.asarray(doubled), np.kron([[1, 2], [3, 4]], np.ones((2, 2))))
    smooth = resize(gray(2, 2), Resize(mode="stretch", size=(1, 1), interpolation="bilinear"))
    assert np.asarray(smooth).item() in (2, 3)


def test_a_result_too_large_for_memory_is_refused() -> None:
    with pytest.raises(ImageError, match="a sliver: 4000x1 would become 1600000x400, which is too large"):
        resize(Image.new("L", (4000, 1)), Resize(mode="shorter_side", size=400), "a sliver")


def test_a_crop_is_the_middle() -> None:
    np.testing.assert_array_equal(np.asarray(center_crop(gray(4, 6), (2, 2))), [[9, 10], [15, 16]])


def test_a_smaller_image_is_padded_with_black() -> None:
    padded = np.asarray(center_crop(gray(1, 2), (3, 4)))
    np.testing.assert_array_equal(padded, [[0, 0, 0, 0], [0, 1, 2, 0], [0, 0, 0, 0]])
