from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from commands import invoke

from edgemate.cli.profile import profile
from edgemate.errors import RunError
from edgemate.exporting import Exported
from edgemate.profiling.timings import Case
from edgemate.runs import Run


@pytest.fixture
def run(finished_run: Run, exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    def ready(run: Run, output: Path, **options: Any) -> Exported:
        return exported

    monkeypatch.setattr("edgemate.profiling.profiler.export_run", ready)
    return Run(Path(shutil.copytree(finished_run.path, tmp_path / "tiny")))


def test_tables_are_printed_and_files_written(run: Run) -> None:
    result = invoke(profile, run.path, "--images", 10, "--repeats", 2, "--threads", 1)
    assert result.exit_code == 0, result.output
    for text in ("peak memory", "ONNX Runtime", "1 thread", "measured on 10 test images", "balanced"):
        assert text in result.stdout
    assert "full network, one graph" in result.stdout
    assert "not in the MACs: aten::add (3×)" in result.stdout
    for name in ("profile.json", "tradeoff.csv", "tradeoff.png"):
        assert name in result.stdout
        assert (run.path / name).is_file()


def test_json_is_what_was_written(run: Run) -> None:
    result = invoke(profile, run.path, "--images", 10, "--repeats", 2, "--threads", 1, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads((run.path / "profile.json").read_text())


def test_times_that_fall_from_exit_to_exit_are_marked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    falling = {1: 31.25, 2: 21.25, 3: 41.25}

    def timed(calls: dict[Case, Any], **_: Any) -> dict[Case, list[list[float]]]:
        return {case: [[falling[case.exit] if case.library == "pytorch-cpu" else case.exit] * 2] for case in calls}

    monkeypatch.setattr("edgemate.profiling.measuring.time_blocks", timed)
    shown = invoke(profile, run.path, "--images", 10, "--repeats", 2, "--threads", 1).stdout
    assert "31.2 !" in shown
    assert "21.2 !" not in shown
    assert "! not monotone: slower than a later exit, so the machine was busy; run again on an idle machine" in shown
    assert json.loads(run.profile_path.read_text())["not_monotone"]["pytorch"] == [1]


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    assert isinstance(invoke(profile, tmp_path).exception, RunError)
