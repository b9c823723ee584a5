"""What a DLA is given: graphs without casts at their ends, and tensors half as wide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from built_here import record_as_built
from bundles import write_small_bundle
from commands import invoke
from fake_cuda import FakeCuda
from fake_engine import fake_tensorrt, install, write_engines

from edgemate import api, files
from edgemate.bundle import Bundle
from edgemate.cli.build import build
from edgemate.errors import BackendError
from edgemate.latency_tables import read_latency_table, write_latency_table
from edgemate.runtime import AnytimeClassifier
from edgemate.runtime.backends.tensorrt.backend import TensorRTBackend
from edgemate.runtime.backends.tensorrt.compat import TensorRT, is_installed, load_tensorrt
from edgemate.runtime.backends.tensorrt.dla import take_and_give_fp16
from edgemate.runtime.backends.tensorrt.options import BuildOptions


@pytest.mark.parametrize("precision", ["int8", "int8+fp16", "fp32"])
def test_a_bundle_that_no_dla_can_compute_is_refused_before_tensorrt_is_looked_for(
    own_bundle: Path, precision: str
) -> None:
    manifest = json.loads((own_bundle / "bundle.json").read_text())
    files.write_json(own_bundle / "bundle.json", {**manifest, "precision": {"name": precision, "tolerance": 0.02}})
    result = invoke(build, own_bundle, "--use-dla-core", 0, "--batch", "1")
    assert isinstance(result.exception, BackendError)
    assert str(result.exception).startswith("use_dla_core: ")
    assert "fp16" in str(result.exception)


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch) -> TensorRT:
    cuda = FakeCuda()
    found = fake_tensorrt(cuda)
    install(monkeypatch, cuda, found)
    return found


def written(trt: TensorRT, path: Path, narrow: tuple[str, ...]) -> Bundle:
    """A bundle whose engines of these names take and give float16."""
    write_engines(write_small_bundle(path), ["segments", "prefixes"], trt, "1:1:8")
    for engine in (path / "engines").rglob("*.engine"):
        if engine.stem not in narrow:
            continue
        engine.write_text(engine.read_text().replace('"float32"', '"float16"'))
        beside = engine.with_name(engine.name + ".json")
        described = json.loads(beside.read_text())
        described["engine"] = {"sha256": files.sha256(engine), "bytes": engine.stat().st_size}
        files.write_json(beside, described)
    record_as_built(path)
    return Bundle.open(path)


ALL = ("segment_1", "segment_2", "segment_3")


def test_times_of_engines_for_the_gpu_are_not_taken_for_those_of_a_dla(trt: TensorRT, tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path / "bundle")
    write_engines(bundle, ["segments"], trt, "1:1:1")
    api.bench(bundle.path, backend="tensorrt", layouts=["segments"], device="orin", repeats=5, warmup=1)
    table = read_latency_table(bundle, "orin")
    with AnytimeClassifier.load(bundle.path, backend="tensorrt") as classifier:
        assert classifier.latency_table() == table
    write_engines(bundle, ["segments"], trt, "1:1:1", dla_core=0, allow_gpu_fallback=True)
    with AnytimeClassifier.load(bundle.path, backend="tensorrt") as classifier:
        assert classifier.latency_table() is None
        differences = table.differences(classifier.backend.metadata())
    assert differences == ["engine options default, here dla_core 0, allow_gpu_fallback true"]


def test_a_table_that_does_not_say_how_engines_were_built_is_read_and_not_taken_by_itself(
    trt: TensorRT, tmp_path: Path
) -> None:
    """Such are those of earlier versions."""
    bundle = write_small_bundle(tmp_path / "bundle")
    write_engines(bundle, ["segments"], trt, "1:1:1")
    api.bench(bundle.path, backend="tensorrt", layouts=["segments"], device="orin", repeats=5, warmup=1)
    table = read_latency_table(bundle, "orin")
    backend = {name: value for name, value in table.backend.items() if name != "engine options"}
    write_latency_table(bundle, table.model_copy(update={"backend": backend}))
    with AnytimeClassifier.load(bundle.path, backend="tensorrt") as classifier:
        older = read_latency_table(bundle, "orin")
        assert older.differences(classifier.backend.metadata()) == ["engine options unknown, here default"]
        assert classifier.latency_table() is None


def test_the_host_gives_and_takes_float32_all_the_same(trt: TensorRT, tmp_path: Path) -> None:
    bundle = written(trt, tmp_path / "bundle", ALL)
    golden = bundle.golden()
    backend = TensorRTBackend(bundle, layout="segments", threads=None)
    flow = backend.begin(golden.images[:3])
    for exit in range(3):
        logits = flow.advance()
        assert logits.dtype == np.float32
        scale = np.abs(golden.logits[:3, exit]).max()
        assert np.abs(logits - golden.logits[:3, exit]).max() < 0.01 * scale
    backend.close()
    with AnytimeClassifier.load(bundle, "tensorrt") as classifier:
        classes = [answer.index for answer in classifier.classify(golden.images)]
        assert np.mean(classes == golden.logits[:, -1].argmax(axis=1)) > 0.9


def test_segments_that_do_not_fit_together_are_refused(trt: TensorRT, tmp_path: Path) -> None:
    bundle = written(trt, tmp_path / "bundle", ("segment_2",))
    with pytest.raises(
        BackendError, match=r"segment_2\.engine: takes \w+ as float16 .* where segment_1\.engine gives float32"
    ):
        TensorRTBackend(bundle, layout="segments", threads=None)


def half_network(path: Path) -> Path:
    """A graph as `export --precision fp16` writes it: float32 at its ends, float16 within."""
    onnx = pytest.importorskip("onnx")
    helper, single, half = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
    weights = onnx.numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float16), "weights")
    nodes = [
        helper.make_node("Cast", ["image"], ["image_half"], to=half),
        helper.make_node("Conv", ["image_half", "weights"], ["maps"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["maps"], ["features_half"]),
        helper.make_node("Cast", ["features_half"], ["features"], to=single),
        helper.make_node("GlobalAveragePool", ["features_half"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits_half"]),
        helper.make_node("Cast", ["logits_half"], ["logits"], to=single),
    ]
    shapes = {"image": (1, 3, 8, 8), "features": (1, 4, 8, 8), "logits": (1, 4)}
    image, *outputs = (helper.make_tensor_value_info(name, single, shape) for name, shape in shapes.items())
    graph = helper.make_graph(nodes, "half", [image], outputs, [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.mark.tensorrt
@pytest.mark.skipif(not is_installed("tensorrt_rtx"), reason="tensorrt_rtx is not installed")
def test_casts_at_the_ends_are_bypassed_in_a_real_network(tmp_path: Path) -> None:
    rtx = load_tensorrt("tensorrt_rtx")
    options = BuildOptions(compute_capabilities=("8.6",))
    builder = rtx.create_builder(options)
    network = rtx.create_network(builder, options)
    parser = rtx.module.OnnxParser(network, rtx.logger)
    assert parser.parse_from_file(str(half_network(tmp_path / "half.onnx"))), rtx.last_errors()
    take_and_give_fp16(rtx, network)

    def described(count: int, get: Any) -> dict[str, Any]:
        return {tensor.name: tensor.dtype for tensor in map(get, range(count))}

    half = rtx.module.DataType.HALF
    assert described(network.num_inputs, network.get_input) == {"image": half}
    assert described(network.num_outputs, network.get_output) == {"features": half, "logits": half}
    config = builder.create_builder_config()
    rtx.apply(config, options, builder)
    assert builder.build_serialized_network(network, config) is not None, rtx.last_errors()


@pytest.mark.tensorrt
@pytest.mark.skipif(not is_installed("tensorrt_rtx"), reason="tensorrt_rtx is not installed")
def test_a_network_in_fp32_stays_as_it_is(small_bundle: Bundle) -> None:
    rtx = load_tensorrt("tensorrt_rtx")
    options = BuildOptions(compute_capabilities=("8.6",))
    network = rtx.create_network(rtx.create_builder(options), options)
    parser = rtx.module.OnnxParser(network, rtx.logger)
    assert parser.parse_from_file(str(small_bundle.file("onnx/segment_1.onnx")))
    take_and_give_fp16(rtx, network)
    single = rtx.module.DataType.FLOAT
    assert all(network.get_input(index).dtype == single for index in range(network.num_inputs))
    assert all(network.get_output(index).dtype == single for index in range(network.num_outputs))
