from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from commands import invoke

from edgemate.cli.profile import profile
from edgemate.errors import RunError
from edgemate.exporting import Exported
from edgemate.runs import Run
from edgemate.runtime import Latency


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
    assert "not in the MACs: element-wise (one operation per value" in result.stdout
    assert "aten::add 3×" in result.stdout
    for name in ("layers.csv", "roofline.csv"):
        assert name not in result.stdout
        assert not (run.path / name).exists()
    for name in ("profile.json", "tradeoff.csv", "tradeoff.png"):
        assert name in result.stdout
        assert (run.path / name).is_file()


def test_layers_and_estimates_are_printed_and_written(run: Run) -> None:
    result = invoke(
        profile,
        *(run.path, "--images", 10, "--repeats", 2, "--threads", 1, "--layers"),
        *("--device-spec", "orin-nano", "--device-spec", "thor"),
    )
    assert result.exit_code == 0, result.output
    assert "layers with the most MACs, in the order in which they run; 20 of 21" in result.stdout
    assert "1 other layer, with 0.0 % of the MACs, only in layers.csv" in result.stdout
    assert "stages.0.blocks.0.module.0" in result.stdout
    for device in ("Jetson Orin Nano 8GB, MAXN SUPER", "Jetson T5000 (AGX Thor), MAXN"):
        assert f"ESTIMATE, not measured: least possible ms at batch 1 on {device}" in result.stdout
    assert "int8, as segments (estimate)" in result.stdout
    counts = json.loads((run.path / "profile.json").read_text())["counts"]
    with (run.path / "layers.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [layer["path"] for layer in counts["layers"]]
    assert sum(int(row["macs"]) for row in rows) == counts["segments"][-1]["macs"] + sum(
        segment["macs"] for segment in counts["segments"][:-1]
    )
    with (run.path / "roofline.csv").open(encoding="utf-8", newline="") as file:
        floors = list(csv.DictReader(file))
    assert len(floors) == len(counts["estimates"]) == 2 * 3 * 3 * 3
    assert {row["estimate"] for row in floors} == {"True"}
    assert all(estimate["estimate"] is True for estimate in counts["estimates"])
    assert all(figure["source"] for device in counts["devices"] for figure in device["peak_flops"].values())


def test_without_layers_the_json_has_none(run: Run) -> None:
    invoke(profile, run.path, "--images", 10, "--repeats", 2, "--threads", 1)
    counts = json.loads((run.path / "profile.json").read_text())["counts"]
    assert "layers" not in counts
    assert counts["estimates"] == []
    assert [count["exit"] for count in counts["exits"]] == [1, 2, 3]


def test_json_is_what_was_written(run: Run) -> None:
    result = invoke(profile, run.path, "--images", 10, "--repeats", 2, "--threads", 1, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads((run.path / "profile.json").read_text())


def test_times_that_fall_from_exit_to_exit_are_marked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    falling = [Latency(ms, ms, ms, ms, 2) for ms in (31.25, 21.25, 41.25)]
    monkeypatch.setattr("edgemate.profiling.profiler.pytorch_latency", lambda *_: falling)
    shown = invoke(profile, run.path, "--images", 10, "--repeats", 2, "--threads", 1).stdout
    assert "31.2 !" in shown
    assert "21.2 !" not in shown
    assert "! not monotone: slower than a later exit, so the machine was busy; run again on an idle machine" in shown
    assert json.loads(run.profile_path.read_text())["not_monotone"]["pytorch"] == [1]


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    assert isinstance(invoke(profile, tmp_path).exception, RunError)
