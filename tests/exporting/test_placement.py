"""Q/DQ pairs are where NVIDIA ModelOpt puts them, and where the logits stay float."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from modelopt_placement import NETWORKS, described, network, of_modelopt, recorded
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgemate.exporting.placement import quantized_inputs

# A full export takes seconds; the smallest stands for them in the fast suite.
NAMES = [pytest.param(name, marks=() if name == "resnet8" else pytest.mark.slow) for name in NETWORKS]


def graph_of(*nodes: NodeProto, constants: dict[str, tuple[int, ...]], gives: tuple[str, ...]) -> ModelProto:
    """A graph of `image` whose outputs are `gives`, the logits last."""
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in gives]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 4, 8, 8])
    weights = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in constants.items()]
    return helper.make_model(helper.make_graph(list(nodes), "test", [image], outputs, weights))


def node(operator: str, inputs: str, output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, inputs.split(), [output], name=output, **attributes)


def placed(proto: ModelProto) -> dict[str, tuple[int, ...]]:
    pairs = zip(proto.graph.node, quantized_inputs(proto), strict=True)
    return {node.name: positions for node, positions in pairs if positions}


@pytest.mark.parametrize("name", NAMES)
def test_pairs_are_where_modelopt_puts_them(name: str) -> None:
    proto = network(name)
    assert described(proto, {name: list(positions) for name, positions in placed(proto).items()}) == recorded(name)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("modelopt") is None, reason="nvidia-modelopt[onnx] is not installed")
@pytest.mark.parametrize("name", NETWORKS)
def test_the_record_is_what_modelopt_does(name: str) -> None:
    assert of_modelopt(network(name)) == recorded(name)


def test_the_record_has_every_shortcut_of_resnet18() -> None:
    assert [len(positions) for positions in recorded("resnet18")["Add"]] == [1] * 8


def test_of_two_convolutions_the_shorter_way_is_the_shortcut() -> None:
    proto = graph_of(
        node("Conv", "image w", "first"),
        node("Relu", "first", "hidden"),
        node("Conv", "hidden w", "branch"),
        node("Conv", "image w", "shortcut"),
        node("Add", "shortcut branch", "sum"),
        node("Relu", "sum", "logits"),
        constants={"w": (4, 4, 1, 1)},
        gives=("logits",),
    )
    assert "sum" not in placed(proto)  # behind the last linear layer, of which there is none: all of it is the answer
    longer = graph_of(
        *proto.graph.node,
        node("GlobalAveragePool", "logits", "pooled"),
        node("Flatten", "pooled", "flat"),
        node("Gemm", "flat matrix", "answer"),
        constants={"w": (4, 4, 1, 1), "matrix": (4, 3)},
        gives=("answer",),
    )
    assert placed(longer) == {"first": (0,), "branch": (0,), "shortcut": (0,), "sum": (0,), "pooled": (0,)}


def test_a_sum_of_what_no_convolution_gives_stays_float() -> None:
    proto = graph_of(
        node("Relu", "image", "a"),
        node("Sigmoid", "image", "b"),
        node("Add", "a b", "sum"),
        node("Conv", "sum w", "features"),
        node("Add", "features bias", "moved"),
        node("Flatten", "moved", "flat"),
        node("MatMul", "flat matrix", "hidden"),
        node("MatMul", "hidden square", "logits"),
        constants={"w": (4, 4, 1, 1), "bias": (1, 4, 1, 1), "matrix": (256, 3), "square": (3, 3)},
        gives=("features", "logits"),
    )
    assert placed(proto) == {"features": (0,), "hidden": (0,)}


def test_a_product_of_two_activations_stays_float() -> None:
    proto = graph_of(
        node("MatMul", "image image", "scores"),
        node("MaxPool", "scores", "pooled", kernel_shape=[2, 2]),
        node("Flatten", "pooled", "flat"),
        node("Gemm", "flat matrix", "logits"),
        constants={"matrix": (64, 3)},
        gives=("logits",),
    )
    assert placed(proto) == {"pooled": (0,)}
