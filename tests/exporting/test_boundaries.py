"""Features pass from segment to segment in what both sides compute in, and nothing else changes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgemate.bundle import Graph
from edgemate.bundle.manifest import Layout, Precision
from edgemate.exporting import Exported, ExportOptions, Limits, export_run
from edgemate.exporting.boundaries import choose_boundaries
from edgemate.exporting.conditional import conditional_graph
from edgemate.exporting.fp16 import LARGEST
from edgemate.exporting.precision import convert_graph, convert_layout
from edgemate.exporting.verify import layout_logits, open_session
from edgemate.runs import Run
from edgemate.runtime import AnytimeClassifier
from edgemate.runtime.backends.tensorrt.builder import build_engine
from edgemate.runtime.backends.tensorrt.compat import is_installed, load_tensorrt
from edgemate.runtime.backends.tensorrt.options import BatchRange, BuildOptions

PRECISIONS: tuple[Precision, ...] = ("fp16", "int8", "int8+fp16")
FEATURES = {"fp16": "float16", "int8": "int8", "int8+fp16": "int8"}


@pytest.fixture
def folder(exported: Exported, tmp_path: Path) -> Path:
    shutil.copytree(exported.bundle.path / "onnx", tmp_path / "onnx")
    return tmp_path


@pytest.fixture(scope="module")
def images(finished_run: Run) -> np.ndarray:
    return finished_run.read_golden().images


@pytest.fixture(scope="module")
def lowered(finished_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("lowered") / "bundle"
    return export_run(
        finished_run, folder, options=ExportOptions(precision="fp16", layouts=("segments", "conditional"))
    )


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("layout", ["segments", "prefixes"])
def test_features_are_what_both_sides_compute_in(
    exported: Exported, folder: Path, images: np.ndarray, layout: Layout, precision: Precision
) -> None:
    graphs = convert_layout(folder, exported.bundle.manifest.graphs[layout], precision, images).graphs
    for graph in graphs:
        assert_types(folder / graph.file, graph, FEATURES[precision])


def test_a_bundle_states_them(lowered: Exported) -> None:
    bundle = lowered.bundle
    for graphs in bundle.manifest.graphs.values():
        for graph in graphs:
            assert_types(bundle.file(graph.file), graph, "float16")
    [conditional] = bundle.manifest.graphs["conditional"]
    assert {tensor.dtype for tensor in (*conditional.inputs, *conditional.outputs)} == {"float32", "int32"}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_segments_answer_as_prefixes_do(
    exported: Exported, folder: Path, images: np.ndarray, precision: Precision
) -> None:
    chained, alone = (
        layout_logits(folder, layout, convert_layout(folder, graphs, precision, images).graphs, images)
        for layout, graphs in exported.bundle.manifest.graphs.items()
    )
    limit = Limits.of(precision).difference * max(1.0, float(np.abs(alone).max()))
    assert np.abs(chained - alone).max() <= limit


def test_the_classifier_chains_them(lowered: Exported) -> None:
    golden = lowered.bundle.golden()
    with AnytimeClassifier.load(lowered.bundle.path, threads=1) as classifier:
        answers = classifier.classify(golden.images)
    given = np.stack([answer.logits for answer in answers])
    limit = Limits.of("fp16").difference * max(1.0, float(np.abs(golden.logits[:, -1]).max()))
    assert given.dtype == np.float32
    assert np.abs(given - golden.logits[:, -1]).max() <= limit


def test_int8_features_change_no_logit(exported: Exported, folder: Path, images: np.ndarray) -> None:
    """The rounding only moves to the other side of the cut."""
    graphs = exported.bundle.manifest.graphs["segments"]
    exact: dict[str, np.ndarray] = {"image": images}
    passed = {"image": images}
    wanted = []
    for graph in graphs:
        full = onnx.load(folder / graph.file)
        taken, given = ([tensor.name for tensor in tensors] for tensors in (graph.inputs, graph.outputs))
        quantized, _ = convert_graph(full, "int8", {name: exact[name] for name in taken})
        for proto, tensors in ((full, exact), (quantized, passed)):
            session = open_session(proto.SerializeToString())
            outputs = session.run(given, {name: tensors[name] for name in taken})
            tensors.update(zip(given, outputs, strict=True))
        wanted.append(passed[f"logits_{graph.exit}"])
    converted = convert_layout(folder, graphs, "int8", images)
    given_logits = layout_logits(folder, "segments", converted.graphs, images)
    np.testing.assert_allclose(given_logits, np.stack(wanted, axis=1), rtol=1e-4, atol=1e-4)


def test_what_might_overflow_passes_in_float32(exported: Exported, folder: Path, images: np.ndarray) -> None:
    graphs = exported.bundle.manifest.graphs["segments"]
    protos = [onnx.load(folder / graph.file) for graph in graphs]
    small, large = np.ones((2, 3), np.float32), np.full((2, 3), LARGEST, np.float32)
    found = choose_boundaries(protos, graphs, "fp16", {"features_1": small, "features_2": large})
    assert found.float16 == {"features_1"}
    assert not found.int8


def test_what_a_float_node_reads_is_not_int8(exported: Exported, folder: Path) -> None:
    graphs = exported.bundle.manifest.graphs["segments"]
    protos = [onnx.load(folder / graph.file) for graph in graphs]
    read = onnx.helper.make_node("Relu", ["features_1"], ["nowhere"], name="reads_features")
    protos[1].graph.node.insert(0, read)
    values = {name: np.full((2, 3), 12.7, np.float32) for name in ("features_1", "features_2")}
    assert choose_boundaries(protos, graphs, "int8", values).int8 == {"features_2": pytest.approx(0.1)}
    mixed = choose_boundaries(protos, graphs, "int8+fp16", values)
    assert mixed.float16 == {"features_1"}
    assert set(mixed.int8) == {"features_2"}


def assert_types(path: Path, graph: Graph, features: str) -> None:
    """The manifest and the file have `features` between segments and float32 elsewhere."""
    proto = onnx.load(path).graph
    pairs = zip((*graph.inputs, *graph.outputs), (*proto.input, *proto.output), strict=True)
    for tensor, value in pairs:
        kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        wanted = "int32" if tensor.name == "exit" else features if "features" in tensor.name else "float32"
        assert (tensor.dtype, kind) == (wanted, wanted), (path.name, tensor.name)


def test_both_sides_have_one_scale(exported: Exported, folder: Path, images: np.ndarray) -> None:
    graphs = exported.bundle.manifest.graphs["segments"]
    convert_layout(folder, graphs, "int8", images)
    scales: dict[str, set[float]] = {}
    for graph in graphs:
        proto = onnx.load(folder / graph.file).graph
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.initializer}
        for node in proto.node:
            for name in (node.input[0], node.output[0]):
                if name in ("features_1", "features_2") and "quantize" in node.op_type.lower():
                    scales.setdefault(name, set()).add(float(constants[node.input[1]]))
    assert {name: len(found) for name, found in scales.items()} == {"features_1": 1, "features_2": 1}


@pytest.mark.tensorrt
@pytest.mark.skipif(not is_installed("tensorrt_rtx"), reason="tensorrt_rtx is not installed")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_tensorrt_rtx_builds_both_sides(
    exported: Exported, folder: Path, images: np.ndarray, precision: Precision
) -> None:
    graphs = convert_layout(folder, exported.bundle.manifest.graphs["segments"], precision, images).graphs
    conditional = conditional_graph([onnx.load(folder / graph.file) for graph in graphs], graphs)
    onnx.save(conditional.proto, folder / conditional.metadata.file)
    library = load_tensorrt("tensorrt_rtx")
    options = BuildOptions(batch=BatchRange(1, 2, 8), compute_capabilities=("8.6",))
    for graph in (*graphs, conditional.metadata):
        assert build_engine(library, folder / graph.file, options, precision)
