from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemate.core.input_spec import InputSpec, Resize
from edgemate.errors import DataError

GRAY = InputSpec(channels=1, height=28, width=20, mean=(0.5,), std=(0.25,))
RGB = InputSpec(channels=3, height=8, width=8, mean=(0.5,) * 3, std=(0.25,) * 3)

sides = st.integers(1, 500)
filters = st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"])
means = st.floats(0.01, 1).map(lambda x: (x, x / 2, x / 3))


@st.composite
def specs(draw):
    """Every kind of specification: resized, cropped, both or neither."""
    size = draw(st.tuples(sides, sides))
    crop = draw(st.none() | st.just(size))
    stretched = st.just(size) if crop is None else st.tuples(sides, sides)
    resize = draw(
        st.none()
        | st.builds(Resize, mode=st.just("stretch"), size=stretched, interpolation=filters)
        | st.builds(Resize, mode=st.just("shorter_side"), size=sides, interpolation=filters)
    )
    return InputSpec(
        channels=3,
        height=size[0],
        width=size[1],
        resize=resize,
        center_crop=crop,
        mean=draw(means),
        std=draw(means),
    )


@given(spec=specs())
def test_a_spec_survives_json(spec):
    assert InputSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_json_has_the_keys_of_the_manifest():
    spec = InputSpec(
        channels=3,
        height=224,
        width=224,
        resize=Resize(mode="shorter_side", size=256, interpolation="bicubic"),
        center_crop=(224, 224),
        mean=(0.1, 0.2, 0.3),
        std=(1, 1, 1),
    )
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
        ({"std": [0.0]}, "std.0"),
        ({"center_crop": [9, 9]}, r".*center_crop \(9, 9\) is not"),
        ({"resize": {"mode": "stretch", "size": 9}}, r"resize: .*\(height, width\) for stretch"),
        ({"resize": {"mode": "stretch", "size": [9, 9]}}, r".*resize to \(9, 9\) without a crop is not"),
        ({"mean": [0.1, 0.2]}, ".*one number per channel, 1 each"),
        ({"mean": [float("nan")]}, ".*must be finite"),
        ({"mean": [1e39]}, ".*values above 1e\\+09"),
        ({"std": [1e-30]}, ".*values above 1e\\+09"),
    ],
)
def test_json_that_does_not_fit_is_one_line_that_names_the_key(change, key):
    with pytest.raises(DataError, match=f"input spec: {key}") as caught:
        InputSpec.from_json({**GRAY.to_json(), **change})
    assert "\n" not in str(caught.value)


def test_normalization_needs_one_number_per_channel():
    assert RGB.with_normalization([0.1, 0.2, 0.3], [1, 1, 1]).mean == (0.1, 0.2, 0.3)
    with pytest.raises(DataError, match=r"^mean has 1 number; the images have 3 channels"):
        RGB.with_normalization([0.5], [0.5] * 3)
    with pytest.raises(DataError, match=r"^std is .* must be positive"):
        RGB.with_normalization([0.5] * 3, [0.5, 0.0, 0.5])
