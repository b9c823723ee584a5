from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import reference_logits
from toy_data import prepare
from two_tensors import two_tensor_model

from edgemate.bundle import Graph
from edgemate.errors import ExportError
from edgemate.exporting import Exported
from edgemate.exporting.conditional import conditional_graph
from edgemate.exporting.graphs import export_graphs
from edgemate.exporting.tensorrt_forms import misread
from edgemate.exporting.verify import open_session
from edgemate.policies import Confidence
from edgemate.policies.scores import max_probability
from edgemate.runtime import AnytimeClassifier


@pytest.fixture(scope="module")
def session(exported: Exported) -> onnxruntime.InferenceSession:
    graphs = exported.bundle.manifest.graphs["segments"]
    return session_of([onnx.load(exported.bundle.file(graph.file)) for graph in graphs], graphs)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return next(iter(prepare("digits", batch_size=200).test_loader()))[0].numpy()


def session_of(protos: Sequence[onnx.ModelProto], graphs: Sequence[Graph]) -> onnxruntime.InferenceSession:
    made = conditional_graph(protos, graphs)
    onnx.checker.check_model(made.proto, full_check=True)
    return open_session(made.proto.SerializeToString())


def answers(
    session: onnxruntime.InferenceSession, images: np.ndarray, thresholds: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """The logits (n, C) and exits (n,) for images one by one."""
    given = np.asarray(thresholds, np.float32)
    found = [session.run(["logits", "exit"], {"image": image[None], "thresholds": given}) for image in images]
    return np.concatenate([logits for logits, _ in found]), np.concatenate([exit for _, exit in found])


@settings(deadline=None, max_examples=10)
@given(thresholds=st.lists(st.floats(0, 1, width=32), min_size=2, max_size=2))
def test_it_stops_where_the_policy_stops(
    exported: Exported, session: onnxruntime.InferenceSession, images: np.ndarray, thresholds: list[float]
) -> None:
    with AnytimeClassifier.load(exported.bundle.path, threads=1) as classifier:
        wanted = classifier.classify(images, Confidence(thresholds))
    logits, exits = answers(session, images, thresholds)
    # An exponential may differ in its last bit; a confidence that close to the threshold can fall either way.
    close = [
        prediction.exit < 3
        and abs(max_probability(prediction.logits[None])[0] - thresholds[prediction.exit - 1]) < 1e-6
        for prediction in wanted
    ]
    sure = ~np.array(close)
    np.testing.assert_array_equal(exits[sure], np.array([prediction.exit for prediction in wanted])[sure])
    np.testing.assert_allclose(logits[sure], np.array([p.logits for p in wanted])[sure], atol=1e-4)


def test_a_threshold_of_1_goes_on_and_one_of_0_stops(session: onnxruntime.InferenceSession, images: np.ndarray) -> None:
    for thresholds, exit in (((1, 1), 3), ((1, 0), 2), ((0, 1), 1)):
        assert set(answers(session, images[:20], thresholds)[1]) == {exit}


def test_it_takes_one_image(exported: Exported, session: onnxruntime.InferenceSession, images: np.ndarray) -> None:
    with pytest.raises(Exception, match="invalid dimensions"):
        session.run(None, {"image": images[:2], "thresholds": np.zeros(2, np.float32)})
    made = conditional_graph(*segments_of(exported))
    assert [
        (tensor.name, tensor.dtype, tensor.shape) for tensor in (*made.metadata.inputs, *made.metadata.outputs)
    ] == [
        ("image", "float32", (1, 1, 8, 8)),
        ("thresholds", "float32", (2,)),
        ("logits", "float32", (1, 10)),
        ("exit", "int32", (1,)),
    ]
    assert (made.metadata.exit, made.metadata.file) == (3, "onnx/conditional.onnx")


def test_logits_that_are_not_finite_do_not_stop(session: onnxruntime.InferenceSession) -> None:
    nothing = np.full((1, 1, 8, 8), np.nan, np.float32)
    assert answers(session, nothing, (0, 0))[1].tolist() == [3]


@pytest.mark.parametrize("broken", [1, 2])
@pytest.mark.parametrize(
    "added", [{0: -np.inf}, {9: -np.inf, 0: 50}, {3: np.inf}, {3: np.nan}, {0: np.inf, 1: -np.inf}], ids=str
)
def test_one_logit_that_is_not_finite_stops_nothing_as_between_segments(
    exported: Exported, images: np.ndarray, broken: int, added: dict[int, float]
) -> None:
    protos, graphs = segments_of(exported)
    add_to_logits(protos[broken - 1], added)
    session = session_of(protos, graphs)
    for thresholds in ((0, 0), (0.3, 0.3), (1, 0)):
        _, exits = answers(session, images[:20], thresholds)
        assert broken not in exits
    assert set(answers(session, images[:20], (0, 0))[1]) == {1 if broken == 2 else 2}


def add_to_logits(proto: onnx.ModelProto, added: dict[int, float]) -> None:
    """Add numbers to some of a segment's logits."""
    logits = proto.graph.output[-1].name
    classes = proto.graph.output[-1].type.tensor_type.shape.dim[1].dim_value
    row = np.zeros((1, classes), np.float32)
    for place, value in added.items():
        row[0, place] = value
    for node in proto.graph.node:
        node.output[:] = [f"{name} before" if name == logits else name for name in node.output]
        node.input[:] = [f"{name} before" if name == logits else name for name in node.input]
    proto.graph.initializer.append(onnx.numpy_helper.from_array(row, "added"))
    proto.graph.node.append(onnx.helper.make_node("Add", [f"{logits} before", "added"], [logits], "adding"))


def test_tensorrt_8_reads_it_as_it_is_and_what_it_misreads_is_found_in_branches(exported: Exported) -> None:
    proto = conditional_graph(*segments_of(exported)).proto
    assert misread(proto) == []
    body = proto.graph
    while body.node[-1].op_type == "If":
        body = next(attribute.g for attribute in body.node[-1].attribute if attribute.name == "else_branch")
    body.node[0].op_type = "Mish"  # in the innermost
    assert misread(proto) == ["Mish"]


def test_a_later_segment_is_only_in_the_branch_that_continues(exported: Exported) -> None:
    protos, graphs = segments_of(exported)
    body = conditional_graph(protos, graphs).proto.graph
    for proto in protos[:-1]:
        own = [node.op_type for node in proto.graph.node]
        assert [node.op_type for node in body.node][: len(own)] == own
        choice = body.node[-1]
        assert choice.op_type == "If"
        branches = {attribute.name: attribute.g for attribute in choice.attribute}
        assert "Conv" not in {node.op_type for node in branches["then_branch"].node}
        body = branches["else_branch"]
    assert "If" not in {node.op_type for node in body.node}


def segments_of(exported: Exported) -> tuple[list[onnx.ModelProto], tuple[Graph, ...]]:
    graphs = exported.bundle.manifest.graphs["segments"]
    return [onnx.load(exported.bundle.file(graph.file)) for graph in graphs], graphs


def test_several_tensors_may_pass_a_cut() -> None:
    model = two_tensor_model()
    segments = list(export_graphs(model, (1, 8, 8), "segments"))
    session = session_of([segment.proto for segment in segments], [segment.metadata for segment in segments])
    images = np.random.default_rng(0).standard_normal((4, 1, 8, 8)).astype(np.float32)
    reference = reference_logits(model, images)
    for exit, thresholds in ((1, (0, 0)), (2, (1, 0)), (3, (1, 1))):
        logits, exits = answers(session, images, thresholds)
        assert set(exits) == {exit}
        np.testing.assert_allclose(logits, reference[:, exit - 1], atol=1e-5)


def test_one_exit_leaves_nothing_to_choose(exported: Exported) -> None:
    protos, graphs = segments_of(exported)
    with pytest.raises(ExportError, match="conditional: the network has one exit"):
        conditional_graph(protos[:1], graphs[:1])
