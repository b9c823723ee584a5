from __future__ import annotations

import logging

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from edgemate.exporting import Exported
from edgemate.exporting.int8 import to_int8
from edgemate.exporting.verify import open_session
from edgemate.runs import Run


@pytest.fixture(scope="module")
def images(finished_run: Run) -> np.ndarray:
    return finished_run.read_golden().images


@pytest.fixture(scope="module")
def full(exported: Exported) -> ModelProto:
    return onnx.load(exported.bundle.file("onnx/prefix_3.onnx"))


@pytest.fixture(scope="module")
def quantized(full: ModelProto, images: np.ndarray) -> ModelProto:
    return to_int8(full, {"image": images})


def constants(proto: ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def makers(proto: ModelProto) -> dict[str, NodeProto]:
    return {name: node for node in proto.graph.node for name in node.output}


def test_products_but_the_last_read_int8_and_give_float(quantized: ModelProto) -> None:
    onnx.checker.check_model(quantized, full_check=True)
    made_by = makers(quantized)
    products = [node for node in quantized.graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(products) == 10
    for node in products[:-1]:
        assert [made_by[name].op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2
    given = {node.output[0] for node in products}
    # A convolution whose result is a shortcut gives int8; no other product does, so that the sum can become part of it.
    shortcuts = {
        made_by[made_by[name].input[0]].input[0]
        for node in quantized.graph.node
        if node.op_type == "Add"
        for name in node.input
        if made_by[name].op_type == "DequantizeLinear"
    }
    read = {node.input[0] for node in quantized.graph.node if node.op_type == "QuantizeLinear"}
    assert read & given <= shortcuts
    assert made_by["logits_3"].op_type == "Gemm"
    assert constants(quantized)[made_by["logits_3"].input[1]].dtype == np.float32


def test_weights_are_int8_with_a_scale_per_channel(quantized: ModelProto) -> None:
    known, made_by = constants(quantized), makers(quantized)
    for node in quantized.graph.node:
        if node.op_type == "Conv":
            weights, scale, zero = (known[name] for name in made_by[node.input[1]].input)
            assert weights.dtype == np.int8
            assert scale.shape == weights.shape[:1]
            assert not zero.any()
            assert weights.max() <= 127
            assert weights.min() >= -127
            assert known[node.input[2]].dtype == np.float32  # the bias


def test_ranges_are_symmetric_and_cover_what_the_images_give(quantized: ModelProto, images: np.ndarray) -> None:
    known = constants(quantized)
    scales = {node.input[0]: known[node.input[1]] for node in quantized.graph.node if node.op_type == "QuantizeLinear"}
    zeros = [known[node.input[2]] for node in quantized.graph.node if node.op_type == "QuantizeLinear"]
    assert all(zero.dtype == np.int8 and zero == 0 for zero in zeros)
    assert scales["image"] == pytest.approx(np.abs(images).max() / 127)


def test_answers_change_little(full: ModelProto, quantized: ModelProto, images: np.ndarray) -> None:
    wanted, given = (
        open_session(proto.SerializeToString()).run(None, {"image": images})[0] for proto in (full, quantized)
    )
    assert 0 < np.abs(given - wanted).max() < 0.2 * np.abs(wanted).max()
    assert (given.argmax(1) == wanted.argmax(1)).mean() > 0.9


def test_it_leaves_no_trace(full: ModelProto, images: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    before, handlers = full.SerializeToString(), list(logging.getLogger().handlers)
    quantized = to_int8(full, {"image": images})
    assert full.SerializeToString() == before
    assert logging.getLogger().handlers == handlers
    assert not caplog.records
    assert not quantized.metadata_props
    assert [(opset.domain, opset.version) for opset in quantized.opset_import] == [("", 18)]
    assert TensorProto.INT32 not in {tensor.data_type for tensor in quantized.graph.initializer}
