"""The builder against real TensorRT-RTX, which parses and builds ahead of time without a GPU."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from bundles import write_small_bundle
from told import Told

from edgemate.bundle import Bundle
from edgemate.errors import BackendError
from edgemate.runtime.backends.tensorrt.builder import build_bundle_engines, build_engine
from edgemate.runtime.backends.tensorrt.compat import TensorRT, is_installed, load_tensorrt
from edgemate.runtime.backends.tensorrt.options import BatchRange, BuildOptions

pytestmark = [
    pytest.mark.tensorrt,
    pytest.mark.skipif(not is_installed("tensorrt_rtx"), reason="tensorrt_rtx is not installed"),
]

AHEAD = BuildOptions(batch=BatchRange(1, 2, 8), compute_capabilities=("8.6", "12.0"))


@pytest.fixture(scope="module")
def rtx() -> TensorRT:
    return load_tensorrt("tensorrt_rtx")


def segment(bundle: Bundle) -> Path:
    return bundle.file("onnx/segment_1.onnx")


def test_a_bundle_gets_its_engines(own_bundle: Path, rtx: TensorRT) -> None:
    told = Told()
    engines = build_bundle_engines(Bundle.open(own_bundle), rtx, AHEAD, layouts=("segments", "prefixes"), progress=told)
    assert [engine.path.stem for engine in engines] == [
        *("segment_1", "segment_2", "segment_3"),
        *("prefix_1", "prefix_2", "prefix_3"),
    ]
    for engine in engines:
        assert engine.path.stat().st_size == engine.metadata.engine.bytes > 10_000
        assert engine.metadata.build_seconds > 0
    assert any(": 1 of" in step for step in told)


def test_a_graph_that_decides_on_the_device_is_built_too(tmp_path: Path, rtx: TensorRT) -> None:
    """Nothing in it has a size that depends on data, so its memory can be ours as well."""
    bundle = write_small_bundle(tmp_path / "bundle", conditional=True)
    [engine] = build_bundle_engines(bundle, rtx, AHEAD, layouts=("conditional",))
    assert engine.metadata.gpu is None


@pytest.mark.parametrize(
    "option",
    [
        {"workspace_mib": 64},
        {"builder_optimization_level": 0},
        {"builder_optimization_level": 5},
        {"profiling_verbosity": "layer_names_only"},
        {"profiling_verbosity": "none"},
        {"tf32": False},
        {"sparsity": True},
    ],
    ids=str,
)
def test_an_option_that_is_set_is_one_that_it_takes(
    small_bundle: Bundle, rtx: TensorRT, option: dict[str, Any]
) -> None:
    assert build_engine(rtx, segment(small_bundle), dataclasses.replace(AHEAD, **option))


def test_what_is_no_graph_is_one_line(tmp_path: Path, rtx: TensorRT) -> None:
    (tmp_path / "graph.onnx").write_bytes(b"no graph")
    with pytest.raises(BackendError, match=r"graph\.onnx: TensorRT-RTX \S+ cannot parse it: \S") as caught:
        build_engine(rtx, tmp_path / "graph.onnx", AHEAD)
    assert "\n" not in str(caught.value)


def test_a_build_that_fails_has_its_own_errors(small_bundle: Bundle, rtx: TensorRT) -> None:
    cramped = dataclasses.replace(AHEAD, workspace_mib=1)
    with pytest.raises(BackendError, match=r"segment_1\.onnx: TensorRT-RTX \S+ cannot build it: .*workspace"):
        build_engine(rtx, segment(small_bundle), cramped)


def test_a_gpu_that_it_does_not_build_for_is_named(small_bundle: Bundle, rtx: TensorRT) -> None:
    orin = dataclasses.replace(AHEAD, compute_capabilities=("8.7",))
    with pytest.raises(BackendError, match=r"compute_capability 8\.7: TensorRT-RTX \S+ builds for 7\.5, 8\.0, 8\.6"):
        build_engine(rtx, segment(small_bundle), orin)
