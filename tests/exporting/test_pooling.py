from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from edgemate.config import Exits, Model
from edgemate.exporting import Exported
from edgemate.exporting.graphs import export_graphs
from edgemate.exporting.pooling import pool_globally
from edgemate.models import build_model

CHANGED_BY_OPSET_18 = {
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd"),
    *("ReduceSumSquare", "Pad", "Resize", "Split", "OptionalGetElement", "OptionalHasElement", "ScatterElements"),
    *("ScatterND", "BitwiseAnd", "CenterCropPad", "Col2Im", "GroupNormalization", "Mish"),
}


def operators(proto: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in proto.graph.node}


def test_no_graph_holds_what_tensorrt_8_would_misread(exported: Exported) -> None:
    for graphs in (exported.bundle.manifest.graphs["segments"], exported.bundle.manifest.graphs["prefixes"]):
        for graph in graphs:
            found = operators(onnx.load(exported.bundle.path / graph.file))
            assert "GlobalAveragePool" in found
            assert not found & CHANGED_BY_OPSET_18


def test_the_means_within_a_mobilenet_are_poolings_too() -> None:
    model = build_model(Model(backbone="mobilenet_v3_small"), Exits(head="linear"), channels=3, classes=4)
    graph = next(export_graphs(model, (3, 32, 32), "prefixes"))
    assert not operators(graph.proto) & CHANGED_BY_OPSET_18


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [[2, 3], [-1, -2], [1, 2], [3], [0, 2], [0]])
def test_a_replaced_mean_is_the_same_mean(axes: list[int], keepdims: int) -> None:
    rank = 4 if keepdims else 4 - len(axes)
    node = helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=keepdims)
    graph = helper.make_graph(
        [node],
        "mean",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 5, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)],
        [helper.make_tensor("axes", TensorProto.INT64, [len(axes)], axes)],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    x = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0)).numpy()
    before = run(proto, x)
    pool_globally(proto)
    onnx.checker.check_model(proto, full_check=True)
    np.testing.assert_allclose(run(proto, x), before, rtol=0, atol=1e-6)
    pooled = axes in ([2, 3], [-1, -2])
    over_batch = 0 in axes  # how many images there are is not known
    assert ("GlobalAveragePool" in operators(proto)) == pooled
    assert ("ReduceMean" in operators(proto)) == over_batch
    assert ("ReduceSum" in operators(proto)) == (not pooled and not over_batch)
    assert ("axes" in {tensor.name for tensor in proto.graph.initializer}) == (not pooled)


def run(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"x": x})[0]
    return found
