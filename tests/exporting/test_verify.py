from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from runs import reference_logits

from edgemate.bundle import Graph, Tensor
from edgemate.errors import ExportError
from edgemate.evaluation import trained_model
from edgemate.exporting import Exported, Limits
from edgemate.exporting.verify import check_graph, verify_layout
from edgemate.runs import Run

Reference = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def images(finished_run: Run) -> Reference:
    images = finished_run.read_golden().images
    return images, reference_logits(trained_model(finished_run), images)


def bend(path: Path, by: float) -> None:
    """Add something to the bias of a graph's classifier."""
    proto = onnx.load(path)
    gemm = next(node for node in proto.graph.node if node.op_type == "Gemm")
    bias = next(tensor for tensor in proto.graph.initializer if tensor.name == gemm.input[2])
    values = numpy_helper.to_array(bias).copy()
    values[0] += by
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    onnx.save(proto, path)


@pytest.fixture
def folder(exported: Exported, tmp_path: Path) -> Path:
    shutil.copytree(exported.bundle.path / "onnx", tmp_path / "onnx")
    return tmp_path


@pytest.mark.parametrize("layout", ["segments", "prefixes"])
def test_every_exit_is_measured(exported: Exported, folder: Path, images: Reference, layout: str) -> None:
    found = verify_layout(folder, layout, exported.bundle.manifest.graphs[layout], *images, Limits())
    assert [agreement.exit for agreement in found] == [1, 2, 3]
    for agreement in found:
        assert agreement.largest_difference < 1e-4
        assert agreement.agreement == 1
        assert agreement.images == len(images[0])
        assert agreement.limit >= 1e-3


@pytest.mark.parametrize(
    ("layout", "file", "exit"),
    [("segments", "segment_2", 2), ("prefixes", "prefix_3", 3), ("segments", "segment_1", 1)],
)
def test_a_graph_that_is_off_is_refused(
    exported: Exported, folder: Path, images: Reference, layout: str, file: str, exit: int
) -> None:
    bend(folder / "onnx" / f"{file}.onnx", 0.25)
    graphs = exported.bundle.manifest.graphs[layout]
    with pytest.raises(ExportError, match=rf"^{layout}, exit {exit}: the largest .* is 0.25 .* limit is 0.0"):
        verify_layout(folder, layout, graphs, *images, Limits())
    verify_layout(folder, layout, graphs, *images, Limits(difference=0.3, agreement=0.5))


def test_top_1_must_agree(exported: Exported, folder: Path, images: Reference) -> None:
    bend(folder / "onnx" / "prefix_2.onnx", 1000.0)
    graphs = exported.bundle.manifest.graphs["prefixes"]
    with pytest.raises(ExportError, match=r"prefixes, exit 2: top-1 agrees .* for \d+\.\d\d% of 40 .* limit is 99.00%"):
        verify_layout(folder, "prefixes", graphs, *images, Limits(difference=1e9))


@pytest.mark.parametrize(
    ("wrong", "limit", "refused"), [(1, 0.0, False), (2, 0.0, True), (4, 0.05, False), (5, 0.05, True)]
)
def test_top_1_may_differ_and_accuracy_fall_by_the_limit_and_one_standard_error(
    exported: Exported, folder: Path, images: Reference, wrong: int, limit: float, refused: bool
) -> None:
    graphs = exported.bundle.manifest.graphs["prefixes"]
    images, reference = images
    classes = reference[:, 1].argmax(1)
    changed = reference.copy()
    for image in range(wrong):  # the network was right where the graph is not
        changed[image, 1] = 0
        changed[image, 1, (classes[image] + 1) % 10] = 1
    labels = changed[:, 1].argmax(1)
    for limits, message in (
        (Limits(1e9, 1 - limit, 1), rf"top-1 agrees with the network for {100 - wrong / 0.4:.2f}% of 40"),
        (Limits(1e9, 0, limit), rf"top-1 accuracy falls by {wrong / 0.4:.2f} points over 40"),
    ):
        if refused:
            with pytest.raises(ExportError, match=f"exit 2: {message}"):
                verify_layout(folder, "prefixes", graphs, images, changed, limits, labels)
        else:
            found = verify_layout(folder, "prefixes", graphs, images, changed, limits, labels)
            assert found[1].accuracy_change == -wrong / 40
            assert found[1].agreement == 1 - wrong / 40


def test_logits_must_be_finite(exported: Exported, folder: Path, images: Reference) -> None:
    images, reference = images
    graphs = exported.bundle.manifest.graphs["prefixes"]
    broken = reference.copy()
    broken[0, 1, 0] = np.nan
    with pytest.raises(ExportError, match="prefixes, exit 2: the network's logits are not finite for 1 of 40 images"):
        verify_layout(folder, "prefixes", graphs, images, broken, Limits())
    bend(folder / "onnx" / "prefix_3.onnx", np.inf)
    with pytest.raises(ExportError, match="prefixes, exit 3: the graph's logits are not finite for 40 of 40 images"):
        verify_layout(folder, "prefixes", graphs, images, reference, Limits())


def test_graphs_that_cannot_run_are_refused(exported: Exported, folder: Path, images: Reference) -> None:
    images, reference = images
    graphs = exported.bundle.manifest.graphs["prefixes"]
    with pytest.raises(ExportError, match="prefixes: ONNX Runtime cannot run the graphs") as info:
        verify_layout(folder, "prefixes", graphs, images[:, :, :4], reference, Limits())
    assert "\n" not in str(info.value)


def test_a_frozen_batch_is_refused(exported: Exported, folder: Path) -> None:
    metadata = exported.bundle.manifest.graphs["prefixes"][0]
    path = folder / metadata.file
    check_graph(path, metadata)
    proto = onnx.load(path)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(proto, path)
    with pytest.raises(ExportError, match=r"prefix_1.onnx: has tensors .*\(2, 1, 8, 8\)"):
        check_graph(path, metadata)


def test_a_graph_must_match_the_manifest(exported: Exported, folder: Path) -> None:
    metadata = exported.bundle.manifest.graphs["prefixes"][0]
    other = Graph(
        exit=1, file=metadata.file, inputs=metadata.inputs, outputs=(Tensor(name="logits_1", shape=("batch", 11)),)
    )
    with pytest.raises(ExportError, match=r"has tensors .* instead of .*\('batch', 11\)"):
        check_graph(folder / metadata.file, other)


def test_an_invalid_graph_is_refused(exported: Exported, folder: Path) -> None:
    metadata = exported.bundle.manifest.graphs["prefixes"][0]
    proto = onnx.load(folder / metadata.file)
    proto.graph.node[0].op_type = "Convolve"
    onnx.save(proto, folder / metadata.file)
    with pytest.raises(ExportError, match=r"prefix_1.onnx: not a valid ONNX graph: .*Convolve"):
        check_graph(folder / metadata.file, metadata)


def test_an_operator_that_no_device_would_load_fails_at_export(tmp_path: Path) -> None:
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Bernoulli", ["image"], ["logits_1"])],
        "random",
        [onnx.helper.make_tensor_value_info("image", 1, ["batch", 2])],
        [onnx.helper.make_tensor_value_info("logits_1", 1, ["batch", 2])],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]), tmp_path / "a.onnx")
    tensors = {name: (Tensor(name=name, shape=("batch", 2)),) for name in ("image", "logits_1")}
    metadata = Graph(exit=1, file="a.onnx", inputs=tensors["image"], outputs=tensors["logits_1"])
    with pytest.raises(ExportError, match="has the operator 'Bernoulli', which export does not write, so no device"):
        check_graph(tmp_path / "a.onnx", metadata)
