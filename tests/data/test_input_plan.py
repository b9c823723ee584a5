from __future__ import annotations

from dataclasses import replace

import pytest
from toy_data import array_source, input_spec

from edgemate.core.input_spec import Resize
from edgemate.errors import DataError

SIZED = array_source(size=(28, 20), channels=1)
UNSIZED = replace(array_source(), size=None)


def test_images_of_one_size_keep_it_by_default_and_are_stretched_to_another():
    spec = input_spec(SIZED)
    assert (spec.height, spec.width, spec.resize, spec.center_crop) == (28, 20, None, None)
    spec = input_spec(SIZED, image_size=32, interpolation="nearest")
    assert (spec.height, spec.width) == (32, 32)
    assert (spec.resize, spec.center_crop) == (Resize(mode="stretch", size=(32, 32), interpolation="nearest"), None)


def test_no_step_is_planned_that_does_nothing():
    assert input_spec(array_source(size=(8, 8)), image_size=8).resize is None


def test_images_of_many_sizes_are_resized_by_the_shorter_side_and_cropped():
    spec = input_spec(UNSIZED, image_size=64)
    assert (spec.resize, spec.center_crop) == (Resize(mode="shorter_side", size=73, interpolation="bilinear"), (64, 64))
    spec = input_spec(UNSIZED, image_size=64, resize_to=64)
    assert spec.resize == Resize(mode="shorter_side", size=64, interpolation="bilinear")
    spec = input_spec(UNSIZED, image_size=64, resize="stretch")
    assert (spec.resize, spec.center_crop) == (Resize(mode="stretch", size=(64, 64), interpolation="bilinear"), None)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (UNSIZED, {}, "set data.image_size"),
        (SIZED, {"resize": "stretch"}, "need data.image_size"),
        (SIZED, {"resize_to": 40}, "need data.image_size"),
        (SIZED, {"image_size": 32, "resize": "stretch", "resize_to": 40}, "data.resize_to is for"),
        (UNSIZED, {"image_size": 64, "resize_to": 60}, "data.resize_to is 60; it must be at least data.image_size, 64"),
    ],
)
def test_options_that_do_not_fit_are_refused(source, options, message):
    with pytest.raises(DataError, match=message):
        input_spec(source, **options)
