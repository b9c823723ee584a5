"""Engines that take pixels: over the fake device, and built by the real TensorRT-RTX, which needs no GPU for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import small_network
from bundles import CONTRACT, write_graphs
from fake_conditional import FakeConditionalCuda, FakeDriver
from fake_cuda import FakeCuda
from fake_engine import fake_tensorrt, install, write_engines

from edgemate import files
from edgemate.bundle import Bundle, BundleWriter
from edgemate.bundle.manifest import Layout
from edgemate.errors import BackendError
from edgemate.policies import Confidence, FixedExit
from edgemate.runtime import AnytimeClassifier, Preprocessor
from edgemate.runtime.backends.tensorrt import backend, kernel
from edgemate.runtime.backends.tensorrt.builder import build_engine
from edgemate.runtime.backends.tensorrt.compat import load_tensorrt
from edgemate.runtime.backends.tensorrt.cuda import Cuda
from edgemate.runtime.backends.tensorrt.options import BatchRange, BuildOptions

onnx = pytest.importorskip("onnx")


def write_pixel_bundle(target: Path) -> Bundle:
    """The small bundle with graphs that take pixels."""
    from edgemate.exporting.uint8_input import uint8_contract, with_uint8_input

    with BundleWriter(target) as writer:
        metadata = write_graphs(writer.path)
        asked = uint8_contract(metadata.input)
        graphs: dict[Layout, tuple[object, ...]] = {}
        for layout, listed in metadata.graphs.items():
            made = [with_uint8_input(onnx.load(writer.path / graph.file), graph, asked) for graph in listed]
            for graph in made:
                (writer.path / graph.metadata.file).write_bytes(graph.proto.SerializeToString())
            graphs[layout] = tuple(graph.metadata for graph in made)
        pixels = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
        plain = Preprocessor(CONTRACT.model_copy(update={"resize": None, "center_crop": None}))
        computed = small_network.run((1, 2, 3), {"image": np.stack([plain.prepare(image) for image in pixels])})
        logits = np.stack([computed[f"logits_{exit}"] for exit in (1, 2, 3)], axis=1)
        golden = {"images": pixels, "labels": logits[:, 2].argmax(axis=1), "logits": logits}
        files.write_arrays(writer.path / "golden.npz", golden)
        return writer.finish(metadata.model_copy(update={"input": asked, "graphs": graphs}))


def test_pixels_go_to_the_device_and_are_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    trt = fake_tensorrt(cuda)
    bundle = write_pixel_bundle(tmp_path / "pixels")
    write_engines(bundle, ("segments", "prefixes"), trt, "1:4:32")
    install(monkeypatch, cuda, trt)
    golden = bundle.golden()
    with AnytimeClassifier.load(bundle, "tensorrt") as classifier:
        for exit in (1, 2, 3):
            found = classifier.classify(golden.images, FixedExit(exit))
            wanted = golden.logits[:, exit - 1]
            np.testing.assert_allclose(np.stack([answer.logits for answer in found]), wanted, rtol=1e-4, atol=1e-4)
        [one] = classifier.classify(golden.images[0], Confidence(1.0))  # an image, resized and cropped to itself
        np.testing.assert_allclose(one.logits, golden.logits[0, 2], rtol=1e-4, atol=1e-4)
        for refused in (classifier.backend.begin, classifier.backend.begin_one):
            with pytest.raises(BackendError, match="takes uint8 images"):
                refused(golden.images[:1].astype(np.float32))
    with AnytimeClassifier.load(bundle, "tensorrt", layout="prefixes") as classifier:
        [one] = classifier.classify(golden.images[:1], FixedExit(2))
        np.testing.assert_allclose(one.logits, golden.logits[0, 1], rtol=1e-4, atol=1e-4)


def test_a_graph_on_the_device_decides_about_pixels_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeConditionalCuda()
    trt = fake_tensorrt(cuda)
    bundle = write_pixel_bundle(tmp_path / "pixels")
    write_engines(bundle, ("segments",), trt, "1:4:32")
    install(monkeypatch, cuda, trt)
    monkeypatch.setattr(backend.Cuda, "load", lambda: Cuda(cuda, 12060))
    monkeypatch.setattr(kernel, "open_driver", lambda: FakeDriver(cuda))
    golden = bundle.golden()
    with AnytimeClassifier.load(bundle, "tensorrt", decide="device") as classifier:
        for exit in (1, 2, 3):
            [found] = classifier.classify(golden.images[:1], FixedExit(exit))
            assert found.exit == exit
            np.testing.assert_allclose(found.logits, golden.logits[0, exit - 1], rtol=1e-4, atol=1e-4)


@pytest.mark.tensorrt
@pytest.mark.parametrize("frame", [None, (72, 128)], ids=["pixels", "frames"])
@pytest.mark.parametrize("layout", ["segments", "conditional"])
def test_graphs_that_take_pixels_build(tmp_path: Path, layout: Layout, frame: tuple[int, int] | None) -> None:
    from edgemate.exporting.uint8_input import uint8_contract, with_uint8_input
    from edgemate.exporting.verify import check_graph

    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheel for this Python or system")
    metadata = write_graphs(tmp_path, conditional=True)
    graph = metadata.graphs[layout][0]
    asked = uint8_contract(metadata.input, frame)
    made = with_uint8_input(onnx.load(tmp_path / graph.file), graph, asked)
    (tmp_path / graph.file).write_bytes(made.proto.SerializeToString())
    check_graph(tmp_path / graph.file, made.metadata)
    options = BuildOptions(batch=BatchRange(1, 1, 8), compute_capabilities=("8.6", "12.0"))
    assert len(build_engine(load_tensorrt("tensorrt_rtx"), tmp_path / graph.file, options, "fp32")) > 1000
