"""Thresholds that a person sets by hand: `calibrate --thresholds` and `evaluate --thresholds`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from commands import invoke

from edgemate.bundle import Bundle
from edgemate.calibration import read_operating_points, simulate
from edgemate.cli.calibrate import calibrate
from edgemate.cli.evaluate import evaluate
from edgemate.cli.main import app
from edgemate.errors import UsageError
from edgemate.policies import Confidence
from edgemate.runs import Run


def profiled(run: Run, milliseconds: list[float]) -> Run:
    """A copy of a run's folder with the part of a profile that has costs."""
    exits = [{"chained_macs": 1000 * (k + 1), "onnxruntime_segments": {"p50": ms}} for k, ms in enumerate(milliseconds)]
    run.profile_path.write_text(json.dumps({"exits": exits}))
    return run


@pytest.fixture
def run(finished_run: Run, tmp_path: Path) -> Run:
    import shutil

    return Run(Path(shutil.copytree(finished_run.path, tmp_path / "tiny")))


def test_the_help_says_that_entropy_stops_below_its_thresholds() -> None:
    [option] = [one for one in typer.main.get_command(app).commands["calibrate"].params if one.name == "thresholds"]  # type: ignore[attr-defined]
    assert "above these scores, with entropy below them" in option.help


def test_a_bundle_gets_a_point_with_the_thresholds_given(own_bundle: Path) -> None:
    result = invoke(calibrate, own_bundle, "--thresholds", "0.75,0.5")
    assert result.exit_code == 0, result.output
    bundle = Bundle.open(own_bundle)
    points = read_operating_points(bundle)
    point = points.get("custom")
    assert point.thresholds == (0.75, 0.5)
    assert points.temperatures is not None
    policy = point.as_policy()
    assert isinstance(policy, Confidence)
    assert policy.temperatures(3) == tuple(found.temperature for found in points.temperatures[:-1])
    stored = bundle.calibration()
    macs = [float(exit.chained_macs) for exit in bundle.manifest.exits]
    found = simulate(stored.logits, stored.labels, macs, policy)
    assert (point.expected.accuracy, point.expected.mean_macs) == (found.accuracy, found.mean_cost)


def test_thresholds_of_another_network_are_refused(own_bundle: Path, run: Run) -> None:
    for command, path in ((calibrate, own_bundle), (evaluate, run.path)):
        error = invoke(command, path, "--thresholds", "0.75,0.5,0.25").exception
        assert isinstance(error, UsageError)
        assert "threshold has 3 numbers; 3 exits need 2, all but the last" in str(error)
        error = invoke(command, path, "--thresholds", "0.75;0.5").exception
        assert isinstance(error, UsageError)
        assert "one per exit but the last, such as 0.9,0.8" in str(error)
        error = invoke(command, path, "--thresholds", "1.5").exception
        assert isinstance(error, UsageError)
        assert "threshold must be from 0 to 1, not 1.5" in str(error)


def test_a_bundle_is_not_evaluated_at_thresholds(own_bundle: Path) -> None:
    error = invoke(evaluate, own_bundle, "--thresholds", "0.5").exception
    assert isinstance(error, UsageError)
    assert "calibrate the bundle with these thresholds" in str(error)


def test_a_run_is_simulated_at_the_thresholds(run: Run) -> None:
    plain = json.loads(invoke(evaluate, run.path, "--thresholds", "0.6,0.8", "--json").stdout)["policy"]
    assert plain["mean_macs"] is None
    assert "costs are shown once the run has been profiled" in invoke(evaluate, run.path, "--thresholds", 0.6).stdout

    profiled(run, [1.0, 4.0, 2.0])
    found = json.loads(invoke(evaluate, run.path, "--thresholds", "0.6,0.8", "--json").stdout)["policy"]
    logits, labels = run.read_logits("test")
    policy = Confidence([0.6, 0.8], temperature=found["temperatures"])
    simulated = simulate(logits, labels, [1000.0, 2000.0, 3000.0], policy)
    assert found["accuracy"] == simulated.accuracy == plain["accuracy"]
    assert tuple(found["fractions"]) == simulated.fractions
    assert found["mean_macs"] == pytest.approx(simulated.mean_cost)
    times = np.array([1.0, 4.0, 4.0])[simulated.exits_taken - 1]  # a fall from exit 2 to 3 is noise
    assert found["mean_ms"] == pytest.approx(times.mean())
    assert found["p99_ms"] == np.quantile(times, 0.99, method="inverted_cdf")
    shown = invoke(evaluate, run.path, "--thresholds", "0.6,0.8").stdout
    assert "stopping at confidence > 0.6, 0.8: simulated on" in shown
    assert f"{100 * simulated.accuracy:.2f} %" in shown


def test_calibrating_and_evaluating_a_run_take_the_same_temperatures(run: Run) -> None:
    result = invoke(calibrate, run.path, "--thresholds", "0.6,0.8", "--json")
    assert result.exit_code == 0, result.output
    (custom,) = (point for point in json.loads(result.stdout)["points"] if point["name"] == "custom")
    found = json.loads(invoke(evaluate, run.path, "--thresholds", "0.6,0.8", "--json").stdout)["policy"]
    assert custom["parameters"] == {"threshold": [0.6, 0.8], "temperature": found["temperatures"]}
