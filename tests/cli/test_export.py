from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import invoke

from edgemate.cli.export import export
from edgemate.errors import ExportError, RunError, UsageError
from edgemate.export import Exported, ExportOptions
from edgemate.runs import Run

Asked = dict[str, Any]


@pytest.fixture
def asked(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What the command asks of `export_run`, which answers at once."""
    calls: Asked = {}

    def ready(run: Run, output: Path, *, target: str, options: ExportOptions) -> Exported:
        calls.update(run=run, output=output, target=target, options=options)
        return exported

    monkeypatch.setattr("edgemate.export.export_run", ready)
    return calls


def test_a_bundle_is_made_and_said_where(finished_run: Run, asked: Asked) -> None:
    result = invoke(export, finished_run.path)
    assert result.exit_code == 0, result.output
    assert (asked["output"], asked["target"]) == (Path("bundles/tiny"), "onnx")
    assert asked["options"].layouts == ("segments", "prefixes")
    assert not asked["options"].overwrite
    assert "segments and prefixes against the network on 40 pictures" in result.stdout
    for column in ("exit", "MACs", "test accuracy", "largest difference", "its limit", "top-1 agreement"):
        assert column in result.stdout
    assert "100.0 %" in result.stdout
    assert "next: edgemate classify bundles/tiny PICTURE" in result.stdout


def test_options_reach_the_export(finished_run: Run, asked: Asked) -> None:
    options = ("--output", "elsewhere", "--layouts", "prefixes", "--tolerance", "0.01", "--force")
    result = invoke(export, finished_run.path, *options)
    assert result.exit_code == 0, result.output
    assert asked["output"] == Path("elsewhere")
    assert asked["options"].layouts == ("prefixes",)
    assert asked["options"].limits.difference == 0.01
    assert asked["options"].overwrite


@pytest.mark.parametrize("layouts", ["graphs", "", "segments,segments", "segments,"])
def test_layouts_are_known_ones(finished_run: Run, asked: Asked, layouts: str) -> None:
    error = invoke(export, finished_run.path, "--layouts", layouts).exception
    assert isinstance(error, UsageError)
    assert "name some of segments, prefixes" in str(error)
    assert not asked


@pytest.mark.parametrize("tolerance", ["0", "-1", "nan"])
def test_a_tolerance_is_above_nothing(finished_run: Run, asked: Asked, tolerance: str) -> None:
    error = invoke(export, finished_run.path, "--tolerance", tolerance).exception
    assert isinstance(error, UsageError)
    assert "must be above 0" in str(error)


def test_what_cannot_be_exported_is_said(finished_run: Run, tmp_path: Path) -> None:
    assert isinstance(invoke(export, tmp_path).exception, RunError)
    error = invoke(export, finished_run.path, "--target", "trt", "--output", tmp_path / "bundle").exception
    assert isinstance(error, ExportError)
    assert list(tmp_path.iterdir()) == []
