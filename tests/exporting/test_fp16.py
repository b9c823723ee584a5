from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgemate.errors import ExportError
from edgemate.exporting import Exported
from edgemate.exporting.fp16 import LARGEST, fragile_nodes, to_float16
from edgemate.exporting.rounding import with_rounding
from edgemate.exporting.verify import open_session
from edgemate.runs import Run


def graph_of(*nodes: onnx.NodeProto, shape: tuple[int, ...] = (4,), **constants: np.ndarray) -> ModelProto:
    """A graph from `x` (batch, *shape) through the nodes to `y`, whose shape is found out."""
    graph = helper.make_graph(
        list(nodes),
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def run(proto: ModelProto, **feeds: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(proto, full_check=True)
    return open_session(proto.SerializeToString()).run(None, feeds)[0]


def types(proto: ModelProto) -> dict[str, int]:
    """The element type of every value."""
    graph = onnx.shape_inference.infer_shapes(proto, strict_mode=True).graph
    return {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info, *graph.output)}


def prefix(exported: Exported) -> ModelProto:
    return onnx.load(exported.bundle.file("onnx/prefix_3.onnx"))


def test_all_is_halved_but_what_goes_in_and_out(exported: Exported, finished_run: Run) -> None:
    full = prefix(exported)
    halved = to_float16(full, ())
    assert [value.type.tensor_type.elem_type for value in (*halved.graph.input, *halved.graph.output)] == [1, 1]
    assert {tensor.data_type for tensor in halved.graph.initializer} <= {TensorProto.FLOAT16, TensorProto.INT64}
    found = types(halved)
    convolutions = [node for node in halved.graph.node if node.op_type == "Conv"]
    assert convolutions
    assert all(found[node.output[0]] == TensorProto.FLOAT16 for node in convolutions)
    images = finished_run.read_golden().images
    wanted, given = run(full, image=images), run(with_rounding(halved), image=images)
    assert given.dtype == np.float32
    assert 0 < np.abs(given - wanted).max() < 0.01 * np.abs(wanted).max()


@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_whatever_is_kept_the_graph_is_valid_and_says_the_same(
    exported: Exported, finished_run: Run, data: st.DataObject
) -> None:
    full = prefix(exported)
    names = [node.name for node in full.graph.node]
    kept = data.draw(st.sets(st.sampled_from(names)))
    mixed = to_float16(full, kept)
    found = types(mixed)
    for node in mixed.graph.node:
        if node.name in kept:
            assert found[node.output[0]] != TensorProto.FLOAT16
    images = finished_run.read_golden().images[:8]
    wanted = run(full, image=images)
    np.testing.assert_allclose(run(with_rounding(mixed), image=images), wanted, atol=0.01 * np.abs(wanted).max())


def test_what_would_overflow_is_kept_and_never_written_as_float16_between() -> None:
    steps = graph_of(
        helper.make_node("Mul", ["x", "up"], ["a"], "up_once"),
        helper.make_node("Mul", ["a", "up"], ["b"], "up_twice"),
        helper.make_node("Mul", ["b", "down"], ["c"], "down_again"),
        helper.make_node("Add", ["c", "c"], ["y"], "double"),
        up=np.array(1000.0),
        down=np.array(1e-6),
    )
    x = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
    assert np.isinf(run(with_rounding(to_float16(steps, ())), x=x)).any()
    kept = fragile_nodes(steps, {"x": x})
    assert kept == {"up_twice": "Mul", "down_again": "Mul"}
    mixed = to_float16(steps, kept)
    np.testing.assert_allclose(run(with_rounding(mixed), x=x), 2 * x, rtol=2e-3)
    assert [node.name for node in mixed.graph.node if node.op_type != "Cast"] == [n.name for n in steps.graph.node]
    assert types(mixed)["b"] == TensorProto.FLOAT


@pytest.mark.parametrize(("size", "kept"), [(4, {}), (200, {"average": "ReduceMean"})])
def test_a_mean_is_kept_where_the_sum_behind_it_is_large(size: int, kept: dict[str, str]) -> None:
    axes = helper.make_node("Constant", [], ["axes"], value_ints=[2, 3])
    mean = graph_of(
        axes, helper.make_node("ReduceMean", ["x", "axes"], ["y"], "average", keepdims=0), shape=(2, size, size)
    )
    x = np.ones((3, 2, size, size), np.float32)
    assert (size * size >= LARGEST) == bool(kept)
    assert fragile_nodes(mean, {"x": x}) == kept


@pytest.mark.parametrize("operator", ["Softmax", "Exp", "ReduceSum"])
def test_operators_known_to_be_fragile_are_kept(operator: str) -> None:
    node = helper.make_node(operator, ["x"], ["y"], "it")
    assert fragile_nodes(graph_of(node), {"x": np.zeros((1, 4), np.float32)}) == {"it": operator}


def test_every_image_is_looked_at() -> None:
    square = graph_of(helper.make_node("Mul", ["x", "x"], ["y"], "square"))
    x = np.ones((70, 4), np.float32)
    assert not fragile_nodes(square, {"x": x})
    x[40, 2] = 300
    assert fragile_nodes(square, {"x": x}) == {"square": "Mul"}


def test_constants_stay_finite_and_never_vanish() -> None:
    extremes = np.array([1e-12, -1e-12, 1e6, 0.0], np.float32)
    shifted = to_float16(graph_of(helper.make_node("Add", ["x", "by"], ["y"], "shift"), by=extremes), ())
    [constant] = (numpy_helper.to_array(tensor) for tensor in shifted.graph.initializer)
    smallest = np.finfo(np.float16).smallest_subnormal
    np.testing.assert_array_equal(constant, np.array([smallest, -smallest, 65504, 0], np.float16))


def test_a_value_that_goes_out_may_go_on_too() -> None:
    steps = graph_of(
        helper.make_node("Relu", ["x"], ["y"], "first"),
        helper.make_node("Add", ["y", "y"], ["z"], "second"),
    )
    steps.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 4]))
    halved = to_float16(steps, ())
    onnx.checker.check_model(halved, full_check=True)
    x = np.array([[-1, 0, 1, 2]], np.float32)
    y, z = open_session(halved.SerializeToString()).run(["y", "z"], {"x": x})
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    np.testing.assert_array_equal(z, 2 * y)


def test_constants_inside_nodes_are_halved_too() -> None:
    node = helper.make_node("Constant", [], ["half"], "half", value=numpy_helper.from_array(np.float32(0.5)))
    halved = to_float16(graph_of(node, helper.make_node("Mul", ["x", "half"], ["y"], "scale")), ())
    np.testing.assert_array_equal(run(halved, x=np.ones((1, 4), np.float32)), np.full((1, 4), 0.5))


def test_control_flow_is_refused() -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["out"])],
        "branch",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", 4])],
    )
    condition = helper.make_node("Constant", [], ["yes"], "yes", value=numpy_helper.from_array(np.array(True)))
    choice = helper.make_node("If", ["yes"], ["y"], "choice", then_branch=branch, else_branch=branch)
    with pytest.raises(ExportError, match="float16 is not for networks with control flow"):
        to_float16(graph_of(condition, choice), ())
