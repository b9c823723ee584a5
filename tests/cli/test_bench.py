from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from edgemate.bundle import Bundle
from edgemate.cli.bench import bench

pytestmark = pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs onnxruntime")


def run(*arguments: Any) -> Result:
    app = typer.Typer()
    app.command()(bench)
    options = ("--repeats", 5, "--warmup", 1, "--threads", 1)
    return CliRunner().invoke(app, [str(argument) for argument in (*arguments, *options)])


def test_every_exit_is_measured_and_the_machine_is_named(small_bundle: Bundle, tmp_path: Path) -> None:
    result = run(small_bundle.path, "--batch", 30, "--json", "--output", tmp_path / "bench.json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert json.loads((tmp_path / "bench.json").read_text()) == report
    assert [row["exit"] for row in report["exits"]] == [1, 2, 3]
    for row in report["exits"]:
        for layout in ("segments", "prefix"):
            assert 0 < row[layout]["p50"] <= row[layout]["p90"] <= row[layout]["p99"]
            assert row[layout]["repeats"] == 5
    assert (report["batch"], report["unit"], report["backend"]["threads"]) == (30, "ms", "1")
    assert report["machine"]["processor"]


def test_the_table_has_a_row_per_exit(small_bundle: Bundle) -> None:
    result = run(small_bundle.path)
    assert result.exit_code == 0, result.output
    assert "ms per batch of 1" in result.stdout
    assert "onnxruntime" in result.stdout
    for name in ("stage1", "stage2", "stage3"):
        assert name in result.stdout
