"""Engines on both sides of a cut are built for one format, and are refused where they are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import write_small_bundle
from fake_cuda import FakeCuda
from fake_engine import fake_tensorrt, install, write_engines
from fake_tensorrt import opened
from tensorrt_names import VERSIONS

from edgemate.bundle import Bundle, Graph
from edgemate.errors import BackendError
from edgemate.runtime.backends.tensorrt.backend import TensorRTBackend
from edgemate.runtime.backends.tensorrt.builder import build_engine
from edgemate.runtime.backends.tensorrt.compat import TensorRT
from edgemate.runtime.backends.tensorrt.formats import feature_format
from edgemate.runtime.backends.tensorrt.loading import find_engines
from edgemate.runtime.backends.tensorrt.options import BatchRange, BuildOptions


def halved(graph: Graph) -> Graph:
    """The graph with float16 where features pass."""
    inside = ("fine", "coarse", "features_2")

    def typed(tensors: Any) -> Any:
        return tuple(
            tensor.model_copy(update={"dtype": "float16"}) if tensor.name in inside else tensor for tensor in tensors
        )

    return graph.model_copy(update={"inputs": typed(graph.inputs), "outputs": typed(graph.outputs)})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, small_bundle: Bundle) -> Bundle:
    segments = tuple(map(halved, small_bundle.manifest.graphs["segments"]))
    graphs = {"segments": segments}
    made = write_small_bundle(tmp_path_factory.mktemp("bundles") / "halved", graphs=graphs)
    write_engines(made, ("segments",), fake_tensorrt(FakeCuda()), "1:4:32")
    return made


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch) -> TensorRT:
    cuda = FakeCuda()
    trt = fake_tensorrt(cuda)
    install(monkeypatch, cuda, trt)
    return trt


def load(bundle: Bundle) -> TensorRTBackend:
    return TensorRTBackend(bundle, layout="segments", threads=None)


@pytest.mark.parametrize(
    ("dtype", "shape", "wanted"),
    [
        ("HALF", (-1, 64, 14, 14), "HWC8"),
        ("HALF", (-1, 12, 14, 14), "LINEAR"),  # padded channels would change the size of a row
        ("HALF", (-1, 64), "LINEAR"),
        ("HALF", (-1, 196, 192), "LINEAR"),
        ("INT8", (-1, 64, 14, 14), "CHW32"),
        ("INT8", (-1, 48, 14, 14), "LINEAR"),
        ("FLOAT", (-1, 64, 14, 14), "LINEAR"),
        ("INT32", (1,), "LINEAR"),
    ],
)
def test_channels_lie_together_where_they_fill_the_format(dtype: str, shape: tuple[int, ...], wanted: str) -> None:
    assert feature_format(dtype, shape) == wanted


@pytest.mark.parametrize("version", VERSIONS)
def test_the_builder_asks_for_them(
    version: str, small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    trt = opened(version)
    module = trt.module
    module.inputs = {"features_1": (-1, 64, 8, 8), "tokens_1": (-1, 16, 32)}
    module.outputs = {"features_2": (-1, 32, 4, 4), "logits_2": (-1, 4)}
    module.types = {"features_1": "HALF", "tokens_1": "HALF", "features_2": "INT8"}
    build_engine(trt, small_bundle.file("onnx/segment_2.onnx"), BuildOptions())
    [network] = module.networks
    asked = {tensor.name: tensor.allowed_formats for tensor in (*network._inputs, *network._outputs)}
    formats = module.TensorFormat
    assert asked == {
        "features_1": 1 << int(formats.HWC8),
        "tokens_1": 1 << int(formats.LINEAR),
        "features_2": 1 << int(formats.CHW32),
        "logits_2": 1 << int(formats.LINEAR),
    }


def test_a_dla_keeps_the_linear_one(small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    trt = opened("10.3.0")
    trt.module.inputs, trt.module.types = {"features_1": (4, 64, 8, 8)}, {"features_1": "HALF"}
    options = BuildOptions(batch=BatchRange(4, 4, 4), dla_core=0)
    build_engine(trt, small_bundle.file("onnx/segment_2.onnx"), options, "fp16")
    [tensor] = trt.module.networks[0]._inputs
    assert tensor.allowed_formats == 1 << int(trt.module.TensorFormat.LINEAR)


def test_float16_features_stay_on_the_device(bundle: Bundle, trt: TensorRT) -> None:
    golden = bundle.golden()
    backend = load(bundle)
    try:
        flow = backend.begin(golden.images[:8])
        logits = [flow.advance()]
        flow.keep(np.arange(0, 8, 2))
        logits += [flow.advance(), flow.advance()]
    finally:
        backend.close()
    assert [array.dtype for array in logits] == [np.float32] * 3
    np.testing.assert_allclose(logits[0], golden.logits[:8, 0], atol=1e-4)
    for exit in (2, 3):
        np.testing.assert_allclose(logits[exit - 1], golden.logits[0:8:2, exit - 1], atol=0.05)


def test_both_sides_in_one_format_are_taken(bundle: Bundle, trt: TensorRT) -> None:
    trt.module.formats = {(1, "fine"): "HWC8", (2, "fine"): "HWC8"}
    load(bundle).close()


def test_sides_of_different_formats_are_one_line(bundle: Bundle, trt: TensorRT) -> None:
    trt.module.formats = {(1, "fine"): "HWC8"}
    with pytest.raises(
        BackendError,
        match=r"segment_2\.engine: takes fine as float16 LINEAR where segment_1\.engine gives float16 HWC8; build the "
        r"engines again with edgemate build$",
    ):
        load(bundle)


@pytest.mark.parametrize("tensor", [(1, "image"), (3, "logits_3")])
def test_what_the_host_reads_and_writes_is_linear(bundle: Bundle, trt: TensorRT, tensor: tuple[int, str]) -> None:
    trt.module.formats = {tensor: "HWC8"}
    with pytest.raises(BackendError, match=rf"segment_{tensor[0]}\.engine: has {tensor[1]} as HWC8 where the host"):
        load(bundle)


def test_an_engine_of_another_type_is_refused(bundle: Bundle, trt: TensorRT, tmp_path: Path) -> None:
    """One that was built when features were float32, beside a manifest that says float16."""
    old = write_small_bundle(tmp_path / "old")
    write_engines(old, ("segments",), trt, "1:4:32")
    files = find_engines(old, trt, "segments")
    graphs = bundle.manifest.graphs["segments"]
    mixed = [replace(file, graph=graph) for file, graph in zip(files, graphs, strict=True)]
    with pytest.raises(BackendError, match=r"coarse is output float32 .* where the manifest says output float16"):
        TensorRTBackend(old, layout="segments", threads=None, engines=mixed)
