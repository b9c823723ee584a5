from __future__ import annotations

import io
import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import typer
from commands import invoke
from typer.testing import CliRunner

from edgemate.bundle import Bundle, replace_file
from edgemate.calibration import read_operating_points
from edgemate.cli.calibrate import calibrate
from edgemate.errors import UsageError
from edgemate.latency_tables import QUANTILES, LatencyTable, StopTimes, write_latency_table
from edgemate.machine import memory_gib, processor
from edgemate.policies import Patience


def test_a_bundle_gets_a_point_for_every_goal_and_stays_whole(own_bundle: Path) -> None:
    result = invoke(
        calibrate, own_bundle, "--max-accuracy-drop", 10, "--mean-macs", "0.035M", "--risk", 0.5, "--delta", 0.2
    )
    assert result.exit_code == 0, result.output
    points = read_operating_points(Bundle.open(own_bundle))
    assert points.names() == ["fast", "balanced", "accurate", "full", "drop", "macs", "guaranteed"]
    assert points.get("macs").expected.mean_macs <= 35_000
    assert points.get("guaranteed").guarantee is not None
    for text in ("ECE before", "costs: MACs", "simulated on the 24 images", "guaranteed: at most 50 points less"):
        assert text in result.stdout


def test_too_few_images_are_said(own_bundle: Path) -> None:
    result = invoke(calibrate, own_bundle, "--risk", 0.01)
    assert result.exit_code == 0, result.output
    assert "guaranteed: 24 images are too few to certify at most 1 point less accuracy" in result.stdout
    assert "are required; until then this point is the whole network" in result.stdout


def test_where_no_number_of_images_can_be_named_that_is_said(own_bundle: Path) -> None:
    stored = Bundle.open(own_bundle).calibration()
    # The surest images, which the first of the grid's thresholds stops, lose 2 of 24 and gain 1.
    logits = np.zeros_like(stored.logits)
    logits[:, 2, 0] = 9
    labels = np.zeros_like(stored.labels)
    logits[:2, 0, 1] = logits[3:, 0, 0] = logits[2, 0, 2] = 99
    labels[2] = 2
    buffer = io.BytesIO()
    np.savez(buffer, logits=logits, labels=labels)
    replace_file(Bundle.open(own_bundle), "calibration.npz", buffer.getvalue())
    result = invoke(calibrate, own_bundle, "--risk", 0.0421)
    assert result.exit_code == 0, result.output
    assert "how many are required cannot be estimated; until then this point is the whole network" in result.stdout
    said = json.loads(invoke(calibrate, own_bundle, "--risk", 0.0421, "--json").stdout)
    assert said["required_samples"] == {"guaranteed": None}


@pytest.mark.parametrize(("mode", "said"), [("15W", True), ("MAXN", False)])
def test_times_of_another_power_mode_are_said(
    own_bundle: Path, monkeypatch: pytest.MonkeyPatch, mode: str, said: bool
) -> None:
    times = [
        StopTimes(exit=k, mean_ms=k, quantiles_ms=(float(k),) * len(QUANTILES), segment_p99_ms=1.0) for k in (1, 2, 3)
    ]
    machine = {"processor": processor(), "memory_gib": memory_gib(), "power mode": "MAXN"}
    table = LatencyTable(device="board", machine=machine, backend={}, repeats=9, exits=tuple(times))
    write_latency_table(Bundle.open(own_bundle), table)
    monkeypatch.setattr("edgemate.latency_tables.read_speed_settings", lambda: {"power mode": mode})
    result = invoke(calibrate, own_bundle, "--device", "board")
    assert result.exit_code == 0, result.output
    warning = "warning: the times of board were measured on such a machine set otherwise (power mode MAXN, here 15W)"
    assert (warning in result.stdout.replace("\n", " ")) == said


def test_a_goal_that_was_not_reached_does_not_look_met(own_bundle: Path) -> None:
    options = ("--solver", "patience", "--mean-macs", "0.0201M", "--max-accuracy-drop", 50)
    result = invoke(calibrate, own_bundle, *options)
    assert result.exit_code == 0, result.output
    assert "warning: macs: at most 20,100 MACs on average was NOT reached: solver 'patience'" in result.stdout
    assert "at most 20,100 MACs on average: not reached" in result.stdout
    assert result.stdout.count("NOT reached") == 1
    points = read_operating_points(Bundle.open(own_bundle))
    assert [point.name for point in points.points if not point.goal_reached] == ["macs"]


def test_no_figure_is_cut_on_a_narrow_screen(own_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgemate.cli.console.is_screen", lambda **_: True)
    app = typer.Typer()
    app.command()(calibrate)
    options = ["--max-accuracy-drop", "12.345678", "--mean-macs", "0.0351M"]
    shown = CliRunner(env={"COLUMNS": "50"}).invoke(app, [str(own_bundle), *options]).stdout
    assert "…" not in shown
    for point in read_operating_points(Bundle.open(own_bundle)).points:
        assert f"{100 * point.expected.accuracy:.1f} %" in shown
        assert point.name in shown


def test_a_temperature_at_the_bound_of_the_search_is_warned_of(own_bundle: Path) -> None:
    stored = Bundle.open(own_bundle).calibration()
    rng = np.random.default_rng(0)
    logits, labels = stored.logits.copy(), stored.labels.copy()
    logits[:, 0] = rng.normal(0, 30, logits[:, 0].shape)  # sure of itself, and right by chance
    content = io.BytesIO()
    np.savez(content, logits=logits, labels=labels)
    replace_file(Bundle.open(own_bundle), "calibration.npz", content.getvalue())
    shown = invoke(calibrate, own_bundle).stdout
    [warning] = [line for line in shown.splitlines() if line.startswith("warning: exit 1:")]
    assert "temperature 10.000 is the highest that is tried" in warning
    assert f"is near chance, {1 / logits.shape[-1]:.1%}" in warning
    assert invoke(calibrate, own_bundle, "--no-temperatures").stdout.count("is tried") == 0


def test_json_is_what_was_written(own_bundle: Path) -> None:
    result = invoke(calibrate, own_bundle, "--json", "--no-temperatures", "--solver", "patience")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said.pop("required_samples") == {}
    assert said.pop("warnings") == []
    assert said == json.loads((own_bundle / "policies.json").read_text())
    assert said["temperatures"] is None
    assert isinstance(read_operating_points(Bundle.open(own_bundle)).points[0].as_policy(), Patience)


@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")
def test_a_run_keeps_its_points_and_its_bundles_get_them(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    from edgemate.exporting import export_run
    from edgemate.runs import Run

    run = Run(Path(shutil.copytree(request.getfixturevalue("finished_run").path, tmp_path / "run")))
    result = invoke(calibrate, run.path, "--max-accuracy-drop", 3)
    assert result.exit_code == 0, result.output
    bundle = export_run(run, tmp_path / "bundle").bundle
    assert "drop" in read_operating_points(bundle).names()
    assert json.loads(bundle.file("policies.json").read_text()) == json.loads(run.policies_path.read_text())
    for options, problem in ((["--device", "board"], "is a run"), (["--mean-latency-ms", 3], "needs a bundle")):
        failed = invoke(calibrate, run.path, *options)
        assert isinstance(failed.exception, UsageError)
        assert problem in str(failed.exception)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--mean-macs", "many"], "mean_macs 'many': give a number of MACs, such as 40M"),
        (["--mean-latency-ms", 3], "a mean latency needs the device that it is for"),
        (["--device", "board"], "device 'board': not measured"),
        (["--risk", 2], "risk: must lie between 0 and 1"),
        (["--max-accuracy-drop", -1], "max_accuracy_drop: must be from 0 to 100 points, not -1"),
        (["--max-accuracy-drop", "inf"], "max_accuracy_drop: must be from 0 to 100 points, not inf"),
        (["--mean-macs", "1e400"], "mean_macs: must be above 0 and finite, not inf"),
        (["--mean-latency-ms", "nan"], "mean_latency_ms: must be above 0 and finite, not nan"),
        (["--delta", 2, "--risk", 0.1], "delta: must lie between 0 and 1, not 2"),
        (["--delta", 0.2], "delta: 0.2 is how often risk may be exceeded; give risk too, such as 0.01"),
        (["--thresholds", "nan,nan"], "thresholds: must be finite numbers"),
    ],
)
def test_what_cannot_be_used_is_named(own_bundle: Path, options: list[object], problem: str) -> None:
    before = (own_bundle / "policies.json").read_bytes()
    result = invoke(calibrate, own_bundle, *options)
    assert isinstance(result.exception, UsageError)
    assert problem in str(result.exception)
    assert "fitting temperatures" not in result.output
    assert (own_bundle / "policies.json").read_bytes() == before


def test_what_is_neither_is_said(tmp_path: Path) -> None:
    result = invoke(calibrate, tmp_path)
    assert "is neither a bundle" in str(result.exception)
