from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from commands import invoke

from edgemate.bundle import Bundle, PrecisionMetadata
from edgemate.cli.export import export
from edgemate.errors import RunError, UsageError
from edgemate.exporting import Exported, ExportOptions
from edgemate.runs import Run

Asked = dict[str, Any]


@pytest.fixture
def asked(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What the command asks of `export_run`, which answers at once."""
    calls: Asked = {}

    def ready(run: Run, output: Path, *, target: str, options: ExportOptions) -> Exported:
        calls.update(run=run, output=output, target=target, options=options)
        return exported

    monkeypatch.setattr("edgemate.exporting.export_run", ready)
    return calls


def test_a_bundle_is_made_and_said_where(finished_run: Run, asked: Asked) -> None:
    result = invoke(export, finished_run.path)
    assert result.exit_code == 0, result.output
    assert (asked["output"], asked["target"]) == (Path("bundles/tiny"), "onnx")
    assert asked["options"].layouts == ("segments", "prefixes")
    assert not asked["options"].overwrite
    assert "segments, prefixes against the network on 40 images" in result.stdout
    for column in ("exit", "MACs", "test accuracy", "largest difference", "its limit", "top-1 agreement"):
        assert column in result.stdout
    assert "100.0 %" in result.stdout
    assert "next: edgemate classify bundles/tiny IMAGE" in result.stdout
    assert re.fullmatch(r"total time: \d+:\d\d", result.stdout.splitlines()[-1])


def test_options_reach_the_export(finished_run: Run, asked: Asked) -> None:
    options = ("--output", "elsewhere", "--layouts", "prefixes", "--tolerance", "0.01", "--force")
    result = invoke(export, finished_run.path, *options)
    assert result.exit_code == 0, result.output
    assert asked["output"] == Path("elsewhere")
    assert asked["options"].layouts == ("prefixes",)
    assert asked["options"].tolerance == 0.01
    assert asked["options"].overwrite


@pytest.mark.parametrize("layouts", ["graphs", "", "segments,segments", "segments,"])
def test_layouts_are_known_ones(finished_run: Run, asked: Asked, layouts: str) -> None:
    error = invoke(export, finished_run.path, "--layouts", layouts).exception
    assert isinstance(error, UsageError)
    assert "name some of segments, prefixes, conditional" in str(error)
    assert not asked


@pytest.mark.parametrize("tolerance", ["0", "-1", "nan", "inf"])
def test_a_tolerance_is_above_nothing(finished_run: Run, asked: Asked, tolerance: str) -> None:
    error = invoke(export, finished_run.path, "--tolerance", tolerance).exception
    assert isinstance(error, UsageError)
    assert "must be above 0" in str(error)


def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    assert isinstance(invoke(export, tmp_path).exception, RunError)


def test_options_for_engines_reach_the_builder(finished_run: Run, asked: Asked) -> None:
    result = invoke(export, finished_run.path, "--target", "trt", "--precision", "fp16", "--batch", "1:2:8")
    assert result.exit_code == 0, result.output
    assert (asked["options"].precision, asked["options"].engine_batch) == ("fp16", (1, 2, 8))
    assert asked["options"].tolerance is None
    invoke(export, finished_run.path, "--target", "trt", "--require-engines")
    assert asked["options"].require_engines
    invoke(export, finished_run.path, "--target", "trt-rtx", "--compute-capability", "8.6, 8.9")
    assert asked["options"].compute_capabilities == ("8.6", "8.9")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--precision", "int4"), "precision 'int4': must be one of fp32, fp16, int8, int8+fp16"),
        (("--target", "trt", "--batch", "4:2:1"), "batch 4:2:1: must rise"),
        (("--target", "triton", "--batch", "1:1:9999999999"), "batch '1:1:9999999999': give min:opt:max"),
        (("--target", "triton", "--batch", "1:1:1025"), "batch 1:1:1025: has 1,025 images; the limit is 1,024"),
        (("--target", "trt-rtx", "--compute-capability", "8.6,"), "compute_capability '': give major.minor"),
        (("--batch", "1:1:8"), "batch: is for targets trt, trt-rtx and triton, not onnx"),
        (
            ("--target", "trt", "--layouts", "conditional", "--batch", "1:1:8"),
            "batch 1:1:8: the conditional graph takes one image at a time",
        ),
        (("--require-engines",), "require_engines: is for target trt, not onnx"),
        (("--target", "trt", "--compute-capability", "8.6"), "compute_capability: is for target trt-rtx, not trt"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    finished_run: Run, asked: Asked, arguments: tuple[str, ...], problem: str
) -> None:
    error = invoke(export, finished_run.path, *arguments).exception
    assert isinstance(error, UsageError)
    assert problem in str(error)
    assert not asked


def test_what_the_device_must_do_is_told(
    finished_run: Run, exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = dataclasses.replace(exported, no_engines="there is no GPU", misread=("Col2Im", "ReduceMax"))
    monkeypatch.setattr("edgemate.exporting.export_run", lambda *args, **kwargs: without)
    result = invoke(export, finished_run.path, "--target", "trt", "--output", "bundles/x")
    assert result.exit_code == 0, result.output
    assert "engines: not built here: there is no GPU" in result.stdout
    assert "edgemate build bundles/x\n" in result.stdout
    assert "warning: TensorRT 8 misreads Col2Im, ReduceMax; build the engines with TensorRT 10\n" in result.stdout
    assert "edgemate classify bundles/x IMAGE --backend tensorrt" in result.stdout


def test_what_a_precision_changed_is_shown(
    finished_run: Run, exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = PrecisionMetadata(name="fp16", kept_fp32=("prefix_1: mean (ReduceMean)",), tolerance=0.02)
    manifest = exported.bundle.manifest.model_copy(update={"precision": metadata})
    agreement = {
        layout: tuple(dataclasses.replace(found, accuracy_change=-0.0025 * found.exit) for found in of_layout)
        for layout, of_layout in exported.agreement.items()
    }
    engine = tmp_path / "segment_1.engine"
    engine.write_bytes(b"plan")
    changed = Exported(Bundle(exported.bundle.path, manifest), agreement, engines=(engine,))
    monkeypatch.setattr("edgemate.exporting.export_run", lambda *args, **kwargs: changed)
    result = invoke(export, finished_run.path, "--precision", "fp16")
    assert result.exit_code == 0, result.output
    assert "segments, prefixes in fp16 against the network" in result.stdout
    for change in ("change, points", "-0.25", "-0.50", "-0.75"):
        assert change in result.stdout
    assert "kept in fp32: prefix_1: mean (ReduceMean)" in result.stdout
    assert f"engines: {tmp_path} (1 file, 4 B)" in result.stdout
