from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
from fake_tensorrt import opened
from golden_backend import GoldenBackend

from edgemate.bundle import Bundle
from edgemate.bundle.manifest import Precision
from edgemate.errors import BackendError
from edgemate.exporting import Exported, ExportOptions, export_run
from edgemate.exporting.targets.trt import with_fp16
from edgemate.registry import BACKENDS
from edgemate.runs import Run
from edgemate.runtime.backends.tensorrt.options import BatchRange
from edgemate.runtime.backends.tensorrt.proving import ProvedEngines, WrongEnginesError

ONNX = "edgemate.exporting.targets.trt.export_onnx"
LOAD = "edgemate.exporting.targets.trt.load_tensorrt"


def no_gpu(flavour: str) -> Any:
    raise BackendError("TensorRT needs an NVIDIA GPU")


@pytest.fixture
def exports(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> list[ExportOptions]:
    """Stand in for the ONNX export; what it was asked for."""
    asked: list[ExportOptions] = []

    def ready(run: Run, output: Path, options: ExportOptions) -> Exported:
        asked.append(options)
        return exported

    monkeypatch.setattr(ONNX, ready)
    return asked


def test_without_a_gpu_the_bundle_is_made_and_the_reason_given(
    finished_run: Run, exports: list[ExportOptions], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(LOAD, no_gpu)
    options = ExportOptions(engine_batch=(1, 1, 8))
    found = export_run(finished_run, tmp_path / "bundle", target="trt", options=options)
    assert found.no_engines == "TensorRT needs an NVIDIA GPU"
    assert found.engines == ()
    assert found.misread == ()
    assert exports == [options]


@pytest.mark.parametrize(
    ("version", "precision", "wanted"),
    [
        (None, "int8", "int8+fp16"),
        ("10.3.0", "int8", "int8+fp16"),
        ("8.6.1", "int8", "int8"),  # which cannot read the other
        ("10.3.0", "fp16", "fp16"),
        (None, "fp32", "fp32"),
    ],
)
def test_int8_computes_the_rest_in_fp16(version: str | None, precision: Precision, wanted: str) -> None:
    trt = None if version is None else opened(version)
    assert with_fp16(ExportOptions(precision=precision), trt).precision == wanted


def test_int8_is_exported_so(
    finished_run: Run, exports: list[ExportOptions], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(LOAD, no_gpu)
    export_run(finished_run, tmp_path / "bundle", target="trt", options=ExportOptions(precision="int8"))
    assert [options.precision for options in exports] == ["int8+fp16"]


def test_tensorrt_is_not_used_without_a_gpu(
    finished_run: Run, exports: list[ExportOptions], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("edgemate.runtime.backends.tensorrt.device.find_gpus", lambda: ())
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    found = export_run(finished_run, tmp_path / "bundle", target="trt")
    assert found.no_engines is not None
    assert "GPU" in found.no_engines
    assert "\n" not in found.no_engines


def test_operators_that_tensorrt_8_misreads_are_named(
    finished_run: Run, exported: Exported, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(LOAD, no_gpu)
    shutil.copytree(exported.bundle.path, tmp_path / "bundle")
    path = tmp_path / "bundle" / exported.bundle.manifest.graphs["segments"][1].file
    graph = onnx.load(path)
    graph.graph.node[-1].op_type = "Mish"  # new in opset 18
    onnx.save(graph, path)
    changed = dataclasses.replace(exported, bundle=Bundle(tmp_path / "bundle", exported.bundle.manifest))
    monkeypatch.setattr(ONNX, lambda run, output, options: changed)
    found = export_run(finished_run, tmp_path / "bundle", target="trt")
    assert found.misread == ("Mish",)
    assert found.to_json()["misread"] == ["Mish"]


def test_required_engines_that_cannot_be_built_leave_nothing(
    finished_run: Run, exports: list[ExportOptions], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(LOAD, no_gpu)
    with pytest.raises(BackendError, match=r"bundle: require_engines: TensorRT needs an NVIDIA GPU"):
        export_run(finished_run, tmp_path / "bundle", target="trt", options=ExportOptions(require_engines=True))
    assert not exports
    assert list(tmp_path.iterdir()) == []


def test_with_a_gpu_the_engines_of_all_layouts_are_built(
    finished_run: Run, exports: list[ExportOptions], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    built: dict[str, Any] = {}

    def build(bundle: Bundle, trt: Any, options: Any, *, layouts: Any, progress: Any) -> ProvedEngines:
        built.update(bundle=bundle, trt=trt, options=options, layouts=layouts)
        engines: Any = (SimpleNamespace(path=tmp_path / "segment_1.engine"),)
        return ProvedEngines(engines, {"segments": ()})

    class Builder:
        def create_builder_config(self) -> str:
            return "config"

    checked: list[Any] = []
    trt = SimpleNamespace(
        create_builder=lambda options: Builder(), apply=lambda config, options, builder: checked.append(options)
    )
    monkeypatch.setattr(LOAD, lambda flavour: trt)
    monkeypatch.setattr("edgemate.exporting.targets.trt.build_proved_engines", build)
    options = ExportOptions(layouts=("segments", "conditional"), engine_batch=(1, 2, 4))
    found = export_run(finished_run, tmp_path / "bundle", target="trt", options=options)
    assert found.engines == (tmp_path / "segment_1.engine",)
    assert found.no_engines is None
    assert found.proofs == {"segments": ()}
    assert built["layouts"] == ("segments", "conditional")
    assert built["options"].batch == BatchRange(1, 2, 4)
    assert checked == [built["options"]]


@pytest.mark.parametrize("error", [0.0, 9.0])
def test_engines_that_compute_something_else_are_not_left_in_the_bundle(
    finished_run: Run, exported: Exported, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: float
) -> None:
    def ready(run: Run, output: Path, options: ExportOptions) -> Exported:
        return dataclasses.replace(exported, bundle=Bundle.open(shutil.copytree(exported.bundle.path, output)))

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    trt = opened("10.3.0")
    trt.module.information = json.dumps({"Layers": []})
    monkeypatch.setattr(ONNX, ready)
    monkeypatch.setattr(LOAD, lambda flavour: trt)
    known = BACKENDS.get
    fake = partial(GoldenBackend, error=error)
    monkeypatch.setattr(BACKENDS, "get", lambda name: fake if name == "tensorrt" else known(name))
    options = ExportOptions(layouts=("segments",))
    folder = tmp_path / "bundle"
    if not error:
        found = export_run(finished_run, folder, target="trt", options=options)
        assert [path.name for path in found.engines] == [f"segment_{exit}.engine" for exit in (1, 2, 3)]
        assert all(path.is_file() for path in found.engines)
        assert [proof.problem for proof in found.proofs["segments"]] == [None] * 3
        return
    with pytest.raises(WrongEnginesError, match="segments, exit 2: the largest difference") as caught:
        export_run(finished_run, folder, target="trt", options=options)
    assert [proof.problem is None for proof in caught.value.proofs["segments"]] == [True, False, True]
    assert list((folder / "engines").rglob("*.engine*")) == []
    assert Bundle.open(folder).manifest == exported.bundle.manifest
