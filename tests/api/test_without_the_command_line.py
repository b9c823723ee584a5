"""From a recipe to answers by the functions of `edgemate` alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import edgemate
from edgemate.api import BundleReport, RunReport
from edgemate.bundle import Bundle
from edgemate.config import parse_recipe
from edgemate.errors import DataError, RunError, UsageError
from edgemate.runs import Run
from recipes import SMALL

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = parse_recipe(SMALL, "small.yaml")
    folder = tmp_path_factory.mktemp("runs") / "small"
    trained = edgemate.train(recipe, folder, overrides=["optimization.epochs=2"])
    assert trained.run.path == folder
    assert trained.metrics["epochs"] == 2
    assert trained.to_json()["run"] == str(folder)
    return trained.run


@pytest.fixture(scope="module")
def bundle(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    exported = edgemate.export(run, tmp_path_factory.mktemp("bundles") / "small")
    assert json.loads(json.dumps(exported.to_json()))["engines"] == []
    assert [agreement.agreement for agreement in exported.agreement["segments"]] == [1.0] * 3
    return exported.bundle


def test_a_run_is_trained_exported_calibrated_evaluated_and_asked(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    calibration = edgemate.calibrate(bundle, max_accuracy_drop=50)
    assert calibration.points.get("drop").goal_reached
    stored = json.loads(calibration.path.read_text())
    assert calibration.to_json() == {**stored, "required_samples": {}, "warnings": list(calibration.warnings)}

    evaluation = edgemate.evaluate(bundle.path, ["full"], images=64, threads=1)
    assert (evaluation.bundle, evaluation.images, evaluation.labeled) == ("small", 64, True)
    [full] = evaluation.points
    assert [found.batch for found in full.measured] == [1, 16]
    assert full.measured[0].fractions == (0.0, 0.0, 1.0)
    assert full.measured[0].accuracy == evaluation.full_accuracy.measured
    assert json.loads(json.dumps(evaluation.to_json()))["points"][0]["name"] == "full"

    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "black.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    classified = edgemate.classify(bundle, tmp_path, "drop", deadline_ms=60_000, threads=1)
    black, broken = classified.answers
    assert (black.image.name, black.error, black.late) == ("black.png", None, False)
    assert black.prediction is not None
    assert black.prediction.exit in (1, 2, 3)
    assert broken.prediction is None
    assert "broken.png" in str(broken.error)
    assert classified.statistics.images == 1
    with edgemate.load(bundle, threads=1) as classifier:
        [same] = classifier.classify(tmp_path / "black.png", "drop")
        check = edgemate.api.check_statistics(classifier.statistics(), bundle, "drop")
    assert same.label == black.prediction.label
    assert check.to_json()["points"][0]["name"] == "drop"


def test_both_kinds_of_folders_are_inspected(run: Run, bundle: Bundle) -> None:
    of_run, of_bundle = edgemate.inspect(run.path), edgemate.inspect(bundle)
    assert isinstance(of_run, RunReport)
    assert isinstance(of_bundle, BundleReport)
    assert of_run.recipe.model.backbone == "resnet8"
    assert of_run.to_json()["metrics"] == run.read_metrics()
    assert [exit.name for exit in of_bundle.manifest.exits] == list(run.read_metadata().cuts)


def test_a_run_is_profiled_and_calibrated(run: Run) -> None:
    profile = edgemate.profile(run, images=5, repeats=2, threads=1)
    assert [exit.exit for exit in profile.exits] == [1, 2, 3]
    calibration = edgemate.calibrate(run.path)
    assert calibration.path == run.policies_path
    assert calibration.points.names() == ["fast", "balanced", "accurate", "full"]


def test_exits_are_timed_and_a_device_is_kept(bundle: Bundle) -> None:
    report = edgemate.bench(bundle, repeats=3, warmup=1, threads=1, device="here")
    assert report.latency_table == "latency/here.json"
    assert all(exit.segments.p50 > 0 < exit.prefix.p50 for exit in report.exits)
    assert json.loads(json.dumps(report.to_json()))["unit"] == "ms"
    with pytest.raises(UsageError, match="device: a latency table is of one image"):
        edgemate.bench(bundle, batch=2, device="here")


def test_a_recipe_object_is_compared(tmp_path: Path) -> None:
    recipe = parse_recipe(SMALL, "small.yaml")
    compared = edgemate.compare(
        recipe, "joint_ce", seeds=[0], output=tmp_path / "compared", overrides=["optimization.epochs=1"]
    )
    assert json.loads(json.dumps(compared.to_json())) == json.loads((compared.path / "comparison.json").read_text())
    with pytest.raises(UsageError, match="a Recipe object has no name"):
        edgemate.compare(recipe, "joint_ce")


def test_what_cannot_be_is_refused(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a Recipe object has no name"):
        edgemate.train(parse_recipe(SMALL, "small.yaml"))
    with pytest.raises(UsageError, match="`resume` and `overwrite` exclude each other"):
        edgemate.train(parse_recipe(SMALL, "small.yaml"), tmp_path / "a", resume=True, overwrite=True)
    with pytest.raises(RunError, match="no such run folder"):
        edgemate.export(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"batch \(1, 8\): give three numbers"):
        edgemate.export(run, tmp_path / "b", target="trt", batch=(1, 8))
    with pytest.raises(DataError, match="no such file"):
        edgemate.classify(bundle, [])
