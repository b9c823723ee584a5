"""The small bundle on every backend: ONNX Runtime, TensorRT over a fake device, and TensorRT where there is a GPU."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from bundles import write_small_bundle

from edgemate.bundle import Bundle
from edgemate.bundle.manifest import Layout
from edgemate.runtime.backends.base import Backend

BATCH = "1:4:32"


@dataclass
class Opener:
    """Opens the bundle on one backend; all that it opened is closed in the end."""

    name: str
    bundle: Bundle
    factory: Callable[..., Backend]
    opened: list[Backend] = field(default_factory=list)

    def __call__(self, layout: Layout = "segments", **options: Any) -> Backend:
        self.opened.append(self.factory(self.bundle, layout=layout, threads=1, **options))
        return self.opened[-1]


BACKENDS = [
    "onnxruntime",
    "fake_tensorrt",
    "fake_tensorrt 8.5.3",  # where an engine may have one context
    pytest.param("tensorrt", marks=[pytest.mark.gpu, pytest.mark.tensorrt]),
]


@pytest.fixture(scope="module", params=BACKENDS)
def opener(
    request: pytest.FixtureRequest, small_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Opener]:
    """For tests that must hold on every backend."""
    yield from _opener(request.param, small_bundle, tmp_path_factory.mktemp("engines"))


@pytest.fixture(scope="module", params=BACKENDS)
def conditional_opener(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opener]:
    """The same for a bundle that has the conditional graph too."""
    folder = tmp_path_factory.mktemp("engines")
    yield from _opener(request.param, write_small_bundle(folder / "conditional", conditional=True), folder)


@pytest.fixture(scope="module", params=BACKENDS)
def mixing_opener(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opener]:
    """For a bundle of all layouts whose exits answer with weighted sums."""
    folder = tmp_path_factory.mktemp("engines")
    bundle = write_small_bundle(folder / "mixing", conditional=True, network="mixing")
    yield from _opener(request.param, bundle, folder)


def _opener(name: str, bundle: Bundle, folder: Path) -> Iterator[Opener]:
    with pytest.MonkeyPatch.context() as patch:
        if name == "onnxruntime":
            found = _onnxruntime(bundle)
        else:
            copy = Bundle.open(shutil.copytree(bundle.path, folder / "with engines"))
            kind, _, version = name.partition(" ")
            found = _fake_tensorrt(copy, patch, version or "10.3.0") if kind == "fake_tensorrt" else _tensorrt(copy)
        yield found
        for backend in found.opened:
            backend.close()


def _onnxruntime(bundle: Bundle) -> Opener:
    pytest.importorskip("onnxruntime")
    from edgemate.runtime.backends.onnxruntime import ONNXRuntimeBackend

    return Opener("onnxruntime", bundle, ONNXRuntimeBackend)


def _fake_tensorrt(bundle: Bundle, patch: pytest.MonkeyPatch, version: str) -> Opener:
    from fake_cuda import FakeCuda
    from fake_engine import fake_tensorrt, install, write_engines

    from edgemate.runtime.backends.tensorrt.backend import TensorRTBackend

    cuda = FakeCuda()
    trt = fake_tensorrt(cuda, version)
    install(patch, cuda, trt)
    write_engines(bundle, tuple(bundle.manifest.graphs), trt, BATCH)
    return Opener("fake_tensorrt", bundle, TensorRTBackend)


def _tensorrt(bundle: Bundle) -> Opener:
    from edgemate.runtime.backends.tensorrt.backend import TensorRTBackend, TensorRTRTXBackend
    from edgemate.runtime.backends.tensorrt.builder import build_bundle_engines
    from edgemate.runtime.backends.tensorrt.options import BatchRange, BuildOptions

    trt = load_real_tensorrt()
    options = BuildOptions(batch=BatchRange.parse(BATCH), tf32=False)
    build_bundle_engines(bundle, trt, options, layouts=tuple(bundle.manifest.graphs))
    return Opener("tensorrt", bundle, TensorRTRTXBackend if trt.is_rtx else TensorRTBackend)


def load_real_tensorrt() -> Any:
    """TensorRT on this machine's GPU; the test is skipped where there is none."""
    from edgemate.runtime.backends.tensorrt.compat import is_installed, load_tensorrt
    from edgemate.runtime.backends.tensorrt.device import find_device

    if find_device() is None:
        pytest.skip("no NVIDIA GPU")
    if not is_installed("tensorrt") and not is_installed("tensorrt_rtx"):
        pytest.skip("no TensorRT installed")
    return load_tensorrt()
