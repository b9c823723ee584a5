from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from runs import reference_logits

from edgemate.bundle.manifest import Layout, Precision
from edgemate.errors import ExportError
from edgemate.evaluation import trained_model
from edgemate.exporting import Exported, Limits
from edgemate.exporting.precision import MIXED_OPSET, convert_layout
from edgemate.exporting.verify import check_graph, open_session, verify_layout
from edgemate.runs import Run


@pytest.fixture
def folder(exported: Exported, tmp_path: Path) -> Path:
    shutil.copytree(exported.bundle.path / "onnx", tmp_path / "onnx")
    return tmp_path


@pytest.mark.parametrize("precision", ["fp16", "int8", "int8+fp16"])
@pytest.mark.parametrize("layout", ["segments", "prefixes"])
def test_a_layout_is_rewritten_and_still_agrees(
    exported: Exported, finished_run: Run, folder: Path, layout: Layout, precision: Precision
) -> None:
    graphs = exported.bundle.manifest.graphs[layout]
    images, labels = finished_run.read_golden()
    converted = convert_layout(folder, graphs, precision, images)
    assert converted.kept_fp32 == ()
    for graph in converted.graphs:
        check_graph(folder / graph.file, graph)
        proto = onnx.load(folder / graph.file)
        assert proto.ir_version == (9 if precision == "int8+fp16" else 8)
        operators = {node.op_type for node in proto.graph.node}
        assert ("QuantizeLinear" in operators) == ("int8" in precision)
        assert ("Cast" in operators) == ("fp16" in precision)
    reference = reference_logits(trained_model(finished_run), images)
    found = verify_layout(folder, layout, converted.graphs, images, reference, Limits.of(precision), labels)
    assert all(agreement.largest_difference > 0 for agreement in found)
    assert all(agreement.accuracy_change is not None for agreement in found)


def test_a_segment_is_calibrated_on_what_float32_gives(exported: Exported, finished_run: Run, folder: Path) -> None:
    graphs = exported.bundle.manifest.graphs["segments"]
    images = finished_run.read_golden().images
    first = open_session(folder / graphs[0].file)
    features = first.run(["features_1"], {"image": images})[0]
    convert_layout(folder, graphs, "int8", images)
    second = onnx.load(folder / graphs[1].file).graph
    scale = next(
        node.input[1] for node in second.node if node.op_type == "DequantizeLinear" and node.input[0] == "features_1"
    )
    value = next(numpy_helper.to_array(tensor) for tensor in second.initializer if tensor.name == scale)
    assert value == pytest.approx(np.abs(features).max() / 127)


def test_float16_scales_need_a_later_opset(exported: Exported, finished_run: Run, folder: Path) -> None:
    graphs = exported.bundle.manifest.graphs["prefixes"][:1]
    convert_layout(folder, graphs, "int8+fp16", finished_run.read_golden().images)
    proto = onnx.load(folder / graphs[0].file)
    assert [opset.version for opset in proto.opset_import] == [MIXED_OPSET]
    dequantized = {node.output[0] for node in proto.graph.node if node.op_type == "DequantizeLinear"}
    inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True).graph.value_info
    kinds = {value.type.tensor_type.elem_type for value in inferred if value.name in dequantized}
    assert kinds == {onnx.TensorProto.FLOAT16}


def test_what_stays_in_float32_is_named(exported: Exported, finished_run: Run, folder: Path) -> None:
    graphs = exported.bundle.manifest.graphs["prefixes"][:2]
    path = folder / graphs[1].file
    proto = onnx.load(path)
    gemm = next(node for node in proto.graph.node if node.op_type == "Gemm")
    weights = next(tensor for tensor in proto.graph.initializer if tensor.name == gemm.input[1])
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * np.float32(1e5), weights.name))
    onnx.save(proto, path)
    images = finished_run.read_golden().images
    wanted = open_session(path).run(None, {"image": images})[0]
    assert convert_layout(folder, graphs, "fp16", images).kept_fp32 == (f"prefix_2: {gemm.name} (Gemm)",)
    np.testing.assert_allclose(open_session(path).run(None, {"image": images})[0], wanted, rtol=0.02, atol=1e3)


def test_what_cannot_be_converted_is_one_line(
    exported: Exported, finished_run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise ValueError("no range\nfor this")

    monkeypatch.setattr("edgemate.exporting.precision.to_int8", refuse)
    graphs = exported.bundle.manifest.graphs["prefixes"]
    with pytest.raises(ExportError, match=r"onnx/prefix_1.onnx: cannot be converted to int8: no range for this"):
        convert_layout(folder, graphs, "int8", finished_run.read_golden().images)
