from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_data import array_source

from edgemate.data.input_spec import InputSpec, Resize, plan_input
from edgemate.errors import DataError

SIZED = array_source(size=(28, 20), channels=1)
UNSIZED = replace(array_source(), size=None)

sides = st.integers(1, 500)
resizes = st.none() | st.builds(
    Resize,
    mode=st.sampled_from(["stretch", "shorter_side"]),
    size=sides | st.tuples(sides, sides),
    interpolation=st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
)
numbers = st.floats(0.01, 1).map(lambda x: (x, x / 2, x / 3))
spec_of_any_kind = st.builds(
    InputSpec,
    channels=st.just(3),
    height=sides,
    width=sides,
    resize=resizes,
    center_crop=st.none() | st.tuples(sides, sides),
    mean=numbers,
    std=numbers,
)


@given(spec=spec_of_any_kind)
def test_spec_survive_json(spec):
    assert InputSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_json_has_the_words_of_the_manifest():
    spec = plan_input(UNSIZED, image_size=224, interpolation="bicubic").with_normalization([0.1, 0.2, 0.3], [1, 1, 1])
    assert spec.to_json() == {
        "channels": 3,
        "height": 224,
        "width": 224,
        "resize": {"mode": "shorter_side", "size": 256, "interpolation": "bicubic"},
        "center_crop": [224, 224],
        "mean": [0.1, 0.2, 0.3],
        "std": [1.0, 1.0, 1.0],
    }


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"channels": 2}, "channels"),
        ({"hight": 3}, "hight"),
        ({"resize": {"mode": "shrink"}}, "resize.mode"),
        ({"mean": 1}, "mean"),
    ],
)
def test_json_that_does_not_fit_is_one_line_that_names_the_key(change, key):
    with pytest.raises(DataError, match=f"input spec: {key}") as caught:
        InputSpec.from_json({**plan_input(SIZED).to_json(), **change})
    assert "\n" not in str(caught.value)


def test_images_of_one_size_keep_it_by_default_and_are_stretched_to_another():
    spec = plan_input(SIZED)
    assert (spec.height, spec.width, spec.resize, spec.center_crop) == (28, 20, None, None)
    spec = plan_input(SIZED, image_size=32, interpolation="nearest")
    assert (spec.height, spec.width) == (32, 32)
    assert (spec.resize, spec.center_crop) == (Resize("stretch", (32, 32), "nearest"), None)


def test_no_step_is_planned_that_does_nothing():
    assert plan_input(array_source(size=(8, 8)), image_size=8).resize is None


def test_images_of_many_sizes_are_resized_by_the_shorter_side_and_cropped():
    spec = plan_input(UNSIZED, image_size=64)
    assert (spec.resize, spec.center_crop) == (Resize("shorter_side", 73, "bilinear"), (64, 64))
    spec = plan_input(UNSIZED, image_size=64, resize_to=64)
    assert spec.resize == Resize("shorter_side", 64, "bilinear")
    spec = plan_input(UNSIZED, image_size=64, resize="stretch")
    assert (spec.resize, spec.center_crop) == (Resize("stretch", (64, 64), "bilinear"), None)


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
        plan_input(source, **options)


def test_normalization_needs_one_number_per_channel():
    spec = plan_input(UNSIZED, image_size=8)
    with pytest.raises(DataError, match=r"data\.mean has 1 number; the images have 3 channels"):
        spec.with_normalization([0.5], [0.5] * 3)
    with pytest.raises(DataError, match=r"data\.std is .* must be positive"):
        spec.with_normalization([0.5] * 3, [0.5, 0.0, 0.5])
