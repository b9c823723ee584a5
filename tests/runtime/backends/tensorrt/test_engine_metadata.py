from __future__ import annotations

import json
from typing import Any

import pytest

from edgemate.runtime.backends.tensorrt.engine_metadata import layer_precisions, layers_off_dla


def layer(kind: str, takes: str | None, gives: str, name: str = "layer") -> dict[str, Any]:
    inputs = [] if takes is None else [{"Name": "x", "Format/Datatype": takes}]
    return {"Name": name, "LayerType": kind, "Inputs": inputs, "Outputs": [{"Name": "y", "Format/Datatype": gives}]}


def information(*layers: Any) -> str:
    return json.dumps({"Layers": list(layers), "Bindings": ["image"]})


def test_layers_are_counted_by_type_and_by_what_they_compute_in() -> None:
    text = information(
        layer("Reformat", "Row major linear FP32", "Channel major FP16 format where channel % 8 == 0"),  # 8.x
        layer("CaskConvolution", "Channel major FP16 format where channel % 8 == 0", "Row major linear FP32"),
        layer("CaskConvolution", "Half", "Float"),  # 10.x
        layer("CaskConvolution", "Thirty-two wide channel vectorized row major Int8 format", "Half"),
        layer("Constant", None, "BFloat16"),
        layer("Oddity", "Something", "else"),
        {"Name": "bare"},
    )
    assert layer_precisions(text) == {
        "CaskConvolution": {"fp16": 2, "int8": 1},
        "Constant": {"bf16": 1},
        "Oddity": {"unknown": 1},
        "Reformat": {"fp32": 1},
        "unknown": {"unknown": 1},
    }


@pytest.mark.parametrize("text", [information("conv1", "conv2"), information(), "[]", "{", "", "null"])
def test_an_engine_that_tells_only_names_has_no_precisions(text: str) -> None:
    assert layer_precisions(text) is None
    assert layers_off_dla(text) == ()


def test_what_is_not_on_the_dla_is_named() -> None:
    text = information(
        layer("DLA", "Half", "Half", "{ForeignNode[conv1...relu3]}"),
        layer("Reformat", "Float", "Half", "to the DLA"),
        layer("SoftMax", "Half", "Half", "softmax"),
    )
    assert layers_off_dla(text) == ("softmax",)
