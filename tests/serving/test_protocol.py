"""A body is read, or refused with one line, whatever it is."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from bundles import CONTRACT
from hypothesis import given
from hypothesis import strategies as st

from edgemate.serving.protocol import OUTPUTS, InferRequest, parse_infer
from edgemate.serving.refusal import RefusedError

MAX_BATCH = 4
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner))
shapes = st.sampled_from([[1, 3, 8, 8], [2, 3, 8, 8], [1, 8, 8, 3], [5, 3, 8, 8]]) | values
numbers = st.sampled_from([[0] * 192, [0.5] * 192, [0] * 191, [True] * 192])


def dictionaries(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({}, optional=fields) | values


nearly = dictionaries(
    id=values,
    inputs=st.lists(
        dictionaries(
            name=st.sampled_from(["image", "pixels"]) | values,
            datatype=st.sampled_from(["FP32", "UINT8"]) | values,
            shape=shapes,
            data=numbers | values,
            parameters=dictionaries(binary_data_size=st.sampled_from([192, 768]) | values),
        ),
        max_size=2,
    )
    | values,
    outputs=st.lists(dictionaries(name=st.sampled_from(sorted(OUTPUTS)) | values, parameters=values)) | values,
    parameters=dictionaries(policy=values, deadline_ms=values, binary_data_output=values),
)


def check(body: bytes, length: int | None) -> None:
    """Nothing but `RefusedError` is raised, and what is read keeps to the limits."""
    refused: RefusedError | None = None
    found: InferRequest | None = None
    try:
        found = parse_infer(memoryview(body), length, CONTRACT, MAX_BATCH)
    except RefusedError as error:
        refused = error
    if found is None:
        assert refused is not None
        assert refused.status == 400
        assert 0 < len(refused.message) < 600
        return
    assert found.images.ndim == 4
    assert 1 <= len(found.images) <= MAX_BATCH
    assert found.images.dtype in (np.float32, np.uint8)
    assert np.isfinite(found.images).all()
    assert set(found.outputs) <= set(OUTPUTS)


@given(nearly, st.sampled_from([b"", bytes(192), bytes(768)]), st.booleans())
def test_json_that_is_nearly_right(request: Any, binary: bytes, told: bool) -> None:
    text = json.dumps(request).encode()
    check(text + binary, len(text) if told else None)


@given(st.binary(max_size=50), st.none() | st.integers(-5, 60))
def test_any_bytes(body: bytes, length: int | None) -> None:
    check(body, length)


@pytest.mark.parametrize("told", [True, False])
def test_what_is_right_is_read(told: bool) -> None:
    images = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    tensor = {"name": "image", "datatype": "FP32", "shape": [2, 3, 8, 8], "data": images.tolist()}
    text = json.dumps({"inputs": [tensor], "parameters": {"policy": "fast", "deadline_ms": 5}}).encode()
    found = parse_infer(memoryview(text), len(text) if told else None, CONTRACT, MAX_BATCH)
    np.testing.assert_array_equal(found.images, images)
    assert (found.policy, found.deadline_ms, set(found.outputs)) == ("fast", 5.0, set(OUTPUTS))
