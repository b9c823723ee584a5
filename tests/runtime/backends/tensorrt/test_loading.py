from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from built_here import record_as_built
from fake_tensorrt import ORIN, opened

from edgemate import files
from edgemate.bundle import Bundle
from edgemate.bundle.manifest import FileMetadata
from edgemate.errors import BackendError, BundleError
from edgemate.runtime.backends.tensorrt.builder import build_bundle_engines
from edgemate.runtime.backends.tensorrt.compat import TensorRT
from edgemate.runtime.backends.tensorrt.device import Device
from edgemate.runtime.backends.tensorrt.loading import find_engines, open_engine
from edgemate.runtime.backends.tensorrt.options import BuildOptions

H200 = replace(ORIN, name="NVIDIA H200", compute_capability="9.0")


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TensorRT:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return opened("10.3.0")


@pytest.fixture
def built(own_bundle: Path, trt: TensorRT) -> Bundle:
    """A bundle with the engines of an Orin and TensorRT 10.3.0."""
    return built_with(own_bundle, trt)


def built_with(path: Path, trt: TensorRT, **options: Any) -> Bundle:
    bundle = Bundle.open(path)
    build_bundle_engines(bundle, trt, BuildOptions(**options))
    return bundle


def folder(bundle: Bundle) -> Path:
    [found] = (bundle.path / "engines").iterdir()
    return found


def described(path: Path) -> FileMetadata:
    return FileMetadata(sha256=files.sha256(path), bytes=path.stat().st_size)


def change_metadata(bundle: Bundle, name: str = "segment_1", **changes: Any) -> None:
    path = folder(bundle) / f"{name}.engine.json"
    files.write_json(path, json.loads(path.read_text()) | changes)


def refusal(bundle: Bundle, trt: TensorRT) -> str:
    with pytest.raises(BackendError) as caught:
        find_engines(bundle, trt, "segments")
    message = str(caught.value)
    assert "\n" not in message
    assert f"edgemate build {bundle.path}" in message
    return message


def test_engines_are_found_in_order(built: Bundle, trt: TensorRT) -> None:
    found = find_engines(built, trt, "segments")
    assert [engine.graph for engine in found] == list(built.manifest.graphs["segments"])
    assert [engine.metadata.exit for engine in found] == [1, 2, 3]
    assert open_engine(trt, found[0]) is not None


def test_none_built(small_bundle: Bundle, trt: TensorRT) -> None:
    assert refusal(small_bundle, trt) == (
        f"{small_bundle.path}: has no engines of its segments for Orin and TensorRT 10.3.0; "
        f"build them here: edgemate build {small_bundle.path}"
    )
    with pytest.raises(BackendError, match=r"edgemate build \S+ --layouts prefixes$"):
        find_engines(small_bundle, trt, "prefixes")
    with pytest.raises(BundleError, match="has no conditional"):
        find_engines(small_bundle, trt, "conditional")


@pytest.mark.parametrize(
    ("version", "device", "said"),
    [
        ("10.13.2", ORIN, "was built with TensorRT 10.3.0, and this is TensorRT 10.13.2; build it again"),
        ("8.6.1", ORIN, "was built with TensorRT 10.3.0, and this is TensorRT 8.6.1; build it again"),
        ("rtx1.7.1.116", ORIN, "was built with TensorRT 10.3.0, and this is TensorRT-RTX 1.7.1"),
        ("10.3.0", H200, "was built for compute capability 8.7, and NVIDIA H200 has 9.0"),
        ("10.3.0", replace(ORIN, name="Orin Nano"), "was built on Orin, and this is Orin Nano"),
        ("10.3.0", replace(ORIN, system="Linux riscv64"), "and this is Linux riscv64"),
    ],
)
def test_an_engine_of_another_place_is_refused(built: Bundle, version: str, device: Device, said: str) -> None:
    assert said in refusal(built, opened(version, device))


def test_an_engine_of_another_graph_is_refused(built: Bundle, trt: TensorRT) -> None:
    change_metadata(built, onnx_sha256="0" * 64)
    assert "segment_1.engine: was built from another onnx/segment_1.onnx than this bundle's" in refusal(built, trt)


def test_a_truncated_engine_is_refused(built: Bundle, trt: TensorRT) -> None:
    path = folder(built) / "segment_2.engine"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])
    assert f"segment_2.engine: has {size - 1} bytes where {size} were written" in refusal(built, trt)


def test_a_changed_engine_is_refused(built: Bundle, trt: TensorRT) -> None:
    path = folder(built) / "segment_2.engine"
    path.write_bytes(bytes(reversed(path.read_bytes())))
    assert "segment_2.engine: was changed after it was built (its SHA-256 differs)" in refusal(built, trt)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "segment_3.engine").unlink(), "segment_3.engine: is missing"),
        (lambda folder: (folder / "segment_3.engine.json").unlink(), "segment_3.engine.json: cannot be read"),
        (lambda folder: (folder / "segment_3.engine.json").write_text("{"), "segment_3.engine.json: not valid JSON"),
        (lambda folder: (folder / "segment_3.engine.json").write_text("{}"), "segment_3.engine.json: edgemate: Field"),
    ],
)
def test_missing_parts_are_named(built: Bundle, trt: TensorRT, damage: Callable[[Path], object], said: str) -> None:
    damage(folder(built))
    assert said in refusal(built, trt)


@pytest.mark.parametrize("version", ["", "10.x", "10.3.0-rc", "../10"])
def test_a_version_that_is_none_is_refused(built: Bundle, trt: TensorRT, version: str) -> None:
    change_metadata(built, version=version)
    assert "segment_1.engine.json: version: " in refusal(built, trt)


def test_metadata_of_a_newer_edgemate_say_so(built: Bundle, trt: TensorRT) -> None:
    change_metadata(built, format_version=2)
    assert "was written by a newer edgemate (format 2)" in refusal(built, trt)


def test_engines_of_different_options_are_not_mixed(built: Bundle, trt: TensorRT) -> None:
    change_metadata(built, "segment_2", options=BuildOptions(tf32=False).metadata())
    record_as_built(built.path)
    assert "segment_2.engine: was built with other options than segment_1.engine" in refusal(built, trt)


def test_version_compatible_engines_run_on_later_versions_only(own_bundle: Path, trt: TensorRT) -> None:
    bundle = built_with(own_bundle, trt, version_compatible=True)
    later = opened("10.13.2")
    engine = find_engines(bundle, later, "segments")[0]
    open_engine(later, engine)
    assert later.module.runtimes[-1].engine_host_code_allowed
    assert "was built with TensorRT 10.3.0" in refusal(bundle, opened("8.6.1"))


def test_hardware_compatible_engines_run_on_other_gpus(own_bundle: Path, trt: TensorRT) -> None:
    bundle = built_with(own_bundle, trt, hardware_compatibility_level="ampere_plus")
    assert find_engines(bundle, opened("10.3.0", H200), "segments")
    xavier = replace(ORIN, name="Xavier", compute_capability="7.2")
    assert "was built for compute capability 8.0 and above, and Xavier has 7.2" in refusal(
        bundle, opened("10.3.0", xavier)
    )


def test_same_compute_capability_is_enough_where_it_was_asked_for(own_bundle: Path) -> None:
    trt = opened("10.13.2")
    bundle = built_with(own_bundle, trt, hardware_compatibility_level="same_compute_capability")
    assert find_engines(bundle, opened("10.13.2", replace(ORIN, name="Orin Nano")), "segments")
    assert "for compute capability 8.7" in refusal(bundle, opened("10.13.2", H200))


def test_what_was_built_here_comes_before_what_fits_too(own_bundle: Path, trt: TensorRT) -> None:
    bundle = built_with(own_bundle, opened("10.3.0", H200), hardware_compatibility_level="ampere_plus")
    assert find_engines(bundle, trt, "segments")[0].metadata.gpu == "NVIDIA H200"
    build_bundle_engines(bundle, trt, BuildOptions())
    assert find_engines(bundle, trt, "segments")[0].metadata.gpu == "Orin"


def test_ahead_of_time_engines_run_on_what_they_were_built_for(own_bundle: Path) -> None:
    bundle = built_with(own_bundle, opened("rtx1.7.1.116", None), compute_capabilities=("8.6", "8.9"))
    ada = replace(ORIN, name="GeForce", compute_capability="8.9")
    assert find_engines(bundle, opened("rtx1.7.1.116", ada), "segments")
    assert "was built for compute capability 8.6, 8.9, and Orin has 8.7" in refusal(bundle, opened("rtx1.7.1.116"))


def test_an_engine_that_tensorrt_does_not_open_is_one_line(built: Bundle, trt: TensorRT) -> None:
    engine = find_engines(built, trt, "segments")[0]
    engine.path.write_bytes(b"no plan")
    engine = replace(engine, metadata=engine.metadata.model_copy(update={"engine": described(engine.path)}))
    with pytest.raises(BackendError) as caught:
        open_engine(trt, engine)
    assert str(caught.value) == (
        f"{engine.path}: TensorRT 10.3.0 cannot open it: the plan is truncated; "
        f"build it again: edgemate build {built.path}"
    )


def test_weights_that_were_left_out_are_put_back(
    own_bundle: Path, trt: TensorRT, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = built_with(own_bundle, trt, strip_weights=True)
    engine = find_engines(bundle, trt, "segments")[1]
    asked: list[str] = []
    monkeypatch.setattr(trt, "refit", lambda opened, onnx: asked.append(onnx) or True)
    open_engine(trt, engine)
    assert asked == [str(bundle.path / "onnx/segment_2.onnx")]
    monkeypatch.setattr(trt, "refit", lambda opened, onnx: False)
    with pytest.raises(BackendError, match=r"segment_2\.engine: its weights cannot be put back"):
        open_engine(trt, engine)


def test_without_a_gpu_nothing_is_looked_for(built: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgemate.runtime.backends.tensorrt.device.find_gpus", lambda: ())
    with pytest.raises(BackendError, match="needs an NVIDIA GPU"):
        find_engines(built, opened("10.3.0", None), "segments")
