from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from told import Told

from edgemate.bundle import Bundle
from edgemate.errors import BackendError, UsageError
from edgemate.exporting import Exported, ExportOptions, export_run
from edgemate.runs import Run
from edgemate.runtime.backends.tensorrt.engine_metadata import read_engine_metadata


def test_a_compute_capability_is_required_without_a_gpu(
    finished_run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        "edgemate.exporting.targets.trt_rtx.load_tensorrt", lambda flavour: SimpleNamespace(device=None)
    )
    with pytest.raises(UsageError, match=r"no GPU to build for; set compute_capabilities, such as 8\.6,8\.9"):
        export_run(finished_run, tmp_path / "bundle", target="trt-rtx")
    assert list(tmp_path.iterdir()) == []


def test_engines_are_built_for_gpus_that_are_not_here(
    finished_run: Run, exported: Exported, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheel for this Python or system")

    def ready(run: Run, output: Path, options: ExportOptions) -> Exported:
        return dataclasses.replace(exported, bundle=Bundle.open(shutil.copytree(exported.bundle.path, output)))

    monkeypatch.setattr("edgemate.exporting.targets.trt_rtx.export_onnx", ready)
    told = Told()
    options = ExportOptions(engine_batch=(1, 2, 4), compute_capabilities=("8.6", "8.9"), progress=told)
    found = export_run(finished_run, tmp_path / "bundle", target="trt-rtx", options=options)
    names = [f"{kind}_{exit}.engine" for kind in ("segment", "prefix") for exit in (1, 2, 3)]
    assert [path.name for path in found.engines] == names
    assert all(path.stat().st_size > 1000 for path in found.engines)
    metadata = read_engine_metadata(found.engines[0])
    assert metadata.compute_capabilities == ("8.6", "8.9")
    assert metadata.options["batch"] == "1:2:4"
    assert "onnx/segment_1.onnx: building" in told
    assert Bundle.open(tmp_path / "bundle").manifest == found.bundle.manifest


def test_an_unknown_gpu_is_refused_before_anything_is_exported(finished_run: Run, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheel for this Python or system")
    with pytest.raises(BackendError, match=r"compute_capability 8\.7: TensorRT-RTX .* builds for .*8\.6"):
        export_run(
            finished_run, tmp_path / "bundle", target="trt-rtx", options=ExportOptions(compute_capabilities=("8.7",))
        )
    assert list(tmp_path.iterdir()) == []
