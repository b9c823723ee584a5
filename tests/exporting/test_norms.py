from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgemate.exporting.norms import sum_norms
from edgemate.exporting.tensorrt_forms import misread


def model(operator: str, axes: list[int], keepdims: int) -> onnx.ModelProto:
    rank = 4 if keepdims else 4 - len(axes)
    shape: list[str | int | None] = ["batch", 3, 4, 5]
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "axes"], ["y"], "norm", keepdims=keepdims)],
        "norm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)],
        [helper.make_tensor("axes", TensorProto.INT64, [len(axes)], axes)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def run(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(proto)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"x": x})[0]
    return found


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [[-1], [2, 3], [1]])
@pytest.mark.parametrize("operator", ["ReduceL1", "ReduceL2", "ReduceSumSquare"])
def test_a_replaced_norm_is_the_same_and_tensorrt_8_reads_it(operator: str, axes: list[int], keepdims: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    proto = model(operator, axes, keepdims)
    wanted = run(proto, x)
    assert misread(proto) == [operator]
    sum_norms(proto)
    assert misread(proto) == []
    np.testing.assert_allclose(run(proto, x), wanted, rtol=1e-6)
