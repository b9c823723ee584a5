from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from commands import invoke

from edgemate.cli.inspect import inspect
from edgemate.errors import BundleError, UsageError
from edgemate.exporting import Exported
from edgemate.runs import Run


def test_a_bundle_is_told(exported: Exported) -> None:
    result = invoke(inspect, exported.bundle.path)
    assert result.exit_code == 0, result.output
    for text in ("tiny, format 2", "gray 8×8; mean", "1 stage1", "balanced", "onnx/segment_2.onnx", "method joint_ce"):
        assert text in result.stdout
    files = len(exported.bundle.manifest.files)
    assert f"{files} files, checked against these SHA-256, which bundle.json records" in result.stdout


def test_a_bundle_as_json_is_its_manifest_and_operating_points(exported: Exported) -> None:
    metadata = json.loads(invoke(inspect, exported.bundle.path, "--json").stdout)
    assert metadata["kind"] == "bundle"
    assert metadata["exits"] == exported.bundle.manifest.model_dump(mode="json")["exits"]
    assert [point["name"] for point in metadata["operating_points"]] == ["fast", "balanced", "accurate", "full"]


def test_precision_and_engines_are_told(exported: Exported, tmp_path: Path) -> None:
    assert "graphs   segments, prefixes; fp32" in invoke(inspect, exported.bundle.path).stdout
    bundle = Path(shutil.copytree(exported.bundle.path, tmp_path / "bundle"))
    said = f"not built here; on the device: edgemate build {bundle}"
    assert said in invoke(inspect, bundle).stdout.replace("\n", "")
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["precision"] = {"name": "int8+fp16", "kept_fp32": ["prefix_1: mean (ReduceMean)"], "tolerance": 0.25}
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    for folder in ("orin_sm87_trt10.3.0", ".orin_sm87_trt10.3.0.part"):
        (bundle / "engines" / folder).mkdir(parents=True)
    shown = invoke(inspect, bundle).stdout
    assert "int8+fp16, set on 0 calibration images; kept in fp32: prefix_1: mean (ReduceMean)" in shown
    assert "engines  orin_sm87_trt10.3.0\n" in shown
    assert json.loads(invoke(inspect, bundle, "--json").stdout)["engines"] == ["orin_sm87_trt10.3.0"]


def test_long_names_are_shortened_on_the_screen_and_whole_in_json(exported: Exported, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(exported.bundle.path, tmp_path / "bundle"))
    manifest, long = json.loads((bundle / "bundle.json").read_text()), "x" * 100_000
    manifest["classes"][0] = manifest["exits"][0]["name"] = manifest["name"] = long
    manifest["source"]["method"] = manifest["tools"]["torch"] = long
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    shown = invoke(inspect, bundle).stdout
    assert "x" * 190 in shown
    assert max(map(len, shown.splitlines())) < 2_000
    assert json.loads(invoke(inspect, bundle, "--json").stdout)["classes"][0] == long


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
    for text in ("tiny, finished", "train 1,078", "gray 8×8", "1 stage1", "ensemble", "backbone: resnet8"):
        assert text in result.stdout
    assert "checked  that what is shown here can be read; a run records no SHA-256" in result.stdout


def test_a_run_as_json(finished_run: Run) -> None:
    metadata = json.loads(invoke(inspect, finished_run.path, "--json").stdout)
    assert (metadata["kind"], metadata["finished"]) == ("run", True)
    assert metadata["metadata"]["cuts"] == ["stage1", "stage2", "stage3"]
    assert metadata["recipe"]["data"]["name"] == "digits"
    assert len(metadata["metrics"]["accuracy"]["test"]["exits"]) == 3


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
