"""What TensorRT-RTX is told when it runs an engine, and the kernels that it compiles then."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import write_small_bundle
from fake_cuda import FakeCuda
from fake_engine import fake_tensorrt, install, write_engines
from fake_tensorrt import ORIN, opened

from edgemate.runtime.backends.tensorrt.backend import TensorRTBackend
from edgemate.runtime.backends.tensorrt.compat import TensorRT, is_installed
from edgemate.runtime.backends.tensorrt.kernel_cache import KernelCache
from edgemate.runtime.backends.tensorrt.options import BuildOptions

RTX = "rtx1.7.1.116"


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("EDGEMATE_TRUST", str(tmp_path / "trust"))


def context_of(trt: TensorRT, **how: Any) -> Any:
    return trt.create_execution_context(trt.module.ICudaEngine("NONE"), 256, **how)


def compile_one(trt: TensorRT, kernel: bytes) -> None:
    """As a run of a context would."""
    context_of(trt)._config._cache._kernels.append(kernel)


def known(trt: TensorRT) -> list[bytes]:
    found: list[bytes] = context_of(trt)._config._cache._kernels
    return found


@pytest.mark.parametrize(("library_graphs", "strategy"), [(False, "DISABLED"), (True, "WHOLE_GRAPH_CAPTURE")])
def test_a_context_compiles_at_once_in_memory_of_ours(library_graphs: bool, strategy: str) -> None:
    context = context_of(opened(RTX), library_graphs=library_graphs)
    assert context._strategy == "USER_MANAGED"
    assert context._config.dynamic_shapes_kernel_specialization_strategy.name == "EAGER"
    assert context._config.cuda_graph_strategy.name == strategy


def test_all_contexts_share_the_kernels() -> None:
    trt = opened(RTX)
    assert context_of(trt)._config._cache is context_of(trt)._config._cache


def test_the_next_start_finds_the_kernels() -> None:
    first = opened(RTX)
    compile_one(first, b"conv_1x3x224x224")
    assert first.kernels is not None
    first.kernels.save()
    assert known(opened(RTX)) == [b"conv_1x3x224x224"]
    assert ORIN.tag in first.kernels.path.name


def test_kernels_that_this_machine_did_not_write_are_not_given_to_the_library() -> None:
    first = opened(RTX)
    assert first.kernels is not None
    first.kernels.path.parent.mkdir(parents=True)
    first.kernels.path.write_bytes(b"kernels 1.7.1.116 strange")
    assert known(first) == []


def test_kernels_of_another_version_count_as_none(tmp_path: Path) -> None:
    trt = opened(RTX)
    compile_one(trt, b"conv")
    assert trt.kernels is not None
    trt.kernels.save()
    later = opened(RTX)
    later.module.__version__ = "1.8.0"
    assert known(later) == []


def test_a_cache_that_cannot_be_written_fails_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    trt = opened(RTX)
    compile_one(trt, b"conv")
    assert trt.kernels is not None
    trt.kernels.save()


def test_only_what_is_new_is_written(tmp_path: Path) -> None:
    trt = opened(RTX)
    compile_one(trt, b"conv")
    assert trt.kernels is not None
    trt.kernels.save()
    trt.kernels.path.unlink()
    trt.kernels.save()
    assert not trt.kernels.path.exists()
    compile_one(trt, b"gemm")
    trt.kernels.save()
    assert known(opened(RTX)) == [b"conv", b"gemm"]


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0", "10.13.2", "11.4.0.106"])
def test_tensorrt_itself_has_neither(version: str) -> None:
    trt = opened(version)
    assert trt.kernels is None
    assert not trt.has_graphs
    assert trt.is_capturable(object(), 7)


def test_what_cannot_be_captured_is_said_by_the_library() -> None:
    trt = opened(RTX)
    for answer in (True, False):
        trt.module.capturable = answer
        assert trt.is_capturable(context_of(trt), 7) is answer


def test_engines_are_built_to_be_captured() -> None:
    for version, flagged in ((RTX, True), ("11.4.0.106", False)):
        trt = opened(version)
        config = trt.module.IBuilderConfig()
        trt.apply(config, BuildOptions(), trt.create_builder(BuildOptions()))
        assert ("REQUIRE_USER_ALLOCATION" in config._flags) == flagged


@pytest.mark.parametrize("capturable", [True, False])
def test_contexts_that_are_not_captured_make_graphs_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capturable: bool
) -> None:
    cuda = FakeCuda()
    trt = fake_tensorrt(cuda)
    install(monkeypatch, cuda, trt)
    bundle = write_small_bundle(tmp_path / "bundle")
    write_engines(bundle, ["segments"], trt, "1:1:8")
    monkeypatch.setattr(TensorRT, "has_graphs", True)
    monkeypatch.setattr(trt, "is_capturable", lambda context, stream: capturable)
    make, asked = trt.create_execution_context, []

    def recorded(engine: Any, scratch: int, *, library_graphs: bool) -> Any:
        asked.append(library_graphs)
        return make(engine, scratch)

    monkeypatch.setattr(trt, "create_execution_context", recorded)
    backend = TensorRTBackend(bundle, layout="segments", threads=None)
    golden = bundle.golden()
    for _ in range(2):
        np.testing.assert_allclose(backend.begin(golden.images[:1]).advance(), golden.logits[:1, 0], atol=1e-4)
    # One context for each segment is captured; where that is impossible, a second one leaves it to the library.
    assert asked.count(False) == 3
    assert asked.count(True) == (0 if capturable else 1)
    assert backend.metadata()["cuda graphs"] == ("on" if capturable else "off")
    backend.close()


def test_a_fake_without_any_of_this_still_runs() -> None:
    assert fake_tensorrt(FakeCuda()).kernels is None


@pytest.mark.tensorrt
@pytest.mark.skipif(not is_installed("tensorrt_rtx"), reason="tensorrt_rtx is not installed")
def test_the_installed_one_takes_what_it_is_given() -> None:
    """By the signatures in its documentation strings: an engine gives the runtime configuration, so it needs a GPU."""
    module = importlib.import_module("tensorrt_rtx")

    def signature(owner: str, member: str) -> str:
        return " ".join(str(getattr(getattr(module, owner), member).__doc__).split())

    assert "runtime_config: tensorrt_rtx_bindings.tensorrt_rtx.IRuntimeConfig" in signature(
        "ICudaEngine", "create_execution_context"
    )
    assert "stream: typing.SupportsInt) -> bool" in signature("IExecutionContext", "is_stream_capturable")
    assert "blob: typing_extensions.Buffer) -> bool" in signature("IRuntimeCache", "deserialize")
    assert "IHostMemory" in signature("IRuntimeCache", "serialize")
    assert "-> bool" in signature("IRuntimeConfig", "set_runtime_cache")
    for name in ("cuda_graph_strategy", "dynamic_shapes_kernel_specialization_strategy"):
        assert isinstance(getattr(module.IRuntimeConfig, name), property)
        assert getattr(module.IRuntimeConfig, name).fset is not None


def test_two_devices_have_two_files(tmp_path: Path) -> None:
    assert KernelCache("one", tmp_path).path != KernelCache("two", tmp_path).path
