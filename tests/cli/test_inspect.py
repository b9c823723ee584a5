from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from commands import invoke

from edgemate.cli.inspect import inspect
from edgemate.errors import BundleError, UsageError
from edgemate.export import Exported
from edgemate.runs import Run


def test_a_bundle_is_told(exported: Exported) -> None:
    result = invoke(inspect, exported.bundle.path)
    assert result.exit_code == 0, result.output
    for text in ("tiny, format 1", "grey 8×8; mean", "1 stage1", "balanced", "onnx/segment_2.onnx", "method joint_ce"):
        assert text in result.stdout


def test_a_bundle_as_json_is_its_manifest_and_operating_points(exported: Exported) -> None:
    facts = json.loads(invoke(inspect, exported.bundle.path, "--json").stdout)
    assert facts["kind"] == "bundle"
    assert facts["exits"] == exported.bundle.manifest.model_dump(mode="json")["exits"]
    assert [point["name"] for point in facts["operating_points"]] == ["fast", "balanced", "accurate", "full"]


def test_a_damaged_bundle_is_refused(exported: Exported, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(exported.bundle.path, tmp_path / "bundle"))
    content = bytearray((bundle / "golden.npz").read_bytes())
    content[100] ^= 1
    (bundle / "golden.npz").write_bytes(content)
    error = invoke(inspect, bundle).exception
    assert isinstance(error, BundleError)
    assert "golden.npz" in str(error)


def test_a_run_is_told(finished_run: Run) -> None:
    result = invoke(inspect, finished_run.path)
    assert result.exit_code == 0, result.output
    for text in ("tiny, finished", "train 1,078", "grey 8×8", "1 stage1", "ensemble", "backbone: resnet8"):
        assert text in result.stdout


def test_a_run_as_json(finished_run: Run) -> None:
    facts = json.loads(invoke(inspect, finished_run.path, "--json").stdout)
    assert (facts["kind"], facts["finished"]) == ("run", True)
    assert facts["facts"]["cuts"] == ["stage1", "stage2", "stage3"]
    assert facts["recipe"]["data"]["name"] == "digits"
    assert len(facts["metrics"]["accuracy"]["test"]["exits"]) == 3


def test_a_run_that_has_not_finished_says_so(finished_run: Run, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run")
    run.write_recipe(finished_run.read_recipe())
    result = invoke(inspect, run.path)
    assert result.exit_code == 0, result.output
    assert "training has not finished" in result.stdout


@pytest.mark.parametrize("name", ["", "absent"])
def test_anything_else_is_neither(tmp_path: Path, name: str) -> None:
    error = invoke(inspect, tmp_path / name).exception
    assert isinstance(error, UsageError)
    assert "is neither a bundle" in str(error)
