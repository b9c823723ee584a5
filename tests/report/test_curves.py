from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from figures import drawn_axes, shown_labels
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from profiles import profile_json

from edgemate.calibration import simulate
from edgemate.policies import Confidence
from edgemate.profiling.bounds import BoundPoint, bound_at
from edgemate.profiling.tradeoff import SIMULATED_THRESHOLDS, spread_thresholds
from edgemate.report import curve_plot
from edgemate.report.curve_files import curve_rows, curves_csv, curves_json
from edgemate.report.curves import Curves, Mark, curves_of, pareto_front
from edgemate.report.outcomes import Outcomes
from edgemate.report.sheet import Sheet
from edgemate.runs import Run

MARKS = st.lists(
    st.builds(Mark, st.integers(1, 9).map(float), st.integers(0, 9).map(float), st.just(""), st.none()), max_size=12
)


@pytest.fixture(scope="module")
def sheet(profiled: Run) -> Sheet:
    return Sheet.of(profiled, json.loads(profiled.profile_path.read_text()))


@given(MARKS)
def test_the_front_is_what_nothing_beats(marks: list[Mark]) -> None:
    front = pareto_front(marks)
    assert front == sorted(front)
    for mark in marks:
        beaten = any(
            other.cost <= mark.cost and other.accuracy >= mark.accuracy and other[:2] != mark[:2] for other in marks
        )
        assert (mark in front) == (not beaten)


def test_every_series_is_there_and_none_is_above_the_oracle(sheet: Sheet) -> None:
    assert set(sheet.curves) == {"macs", "ms"}
    for axis, curves in sheet.curves.items():
        assert len(curves.exits) == 2
        assert len(curves.full) == 1
        assert [mark.label for mark in curves.operating_points] == ["fast", "balanced", "accurate"]
        oracle = [BoundPoint(0, mark.accuracy, mark.cost) for mark in curves.oracle]
        for mark in (*curves.budgeted, *curves.swept, *curves.operating_points, *curves.random):
            assert mark.accuracy <= bound_at(oracle, [mark.cost])[0] + 1e-9, (axis, mark)
        costs = {"macs": sheet.subject.costs.macs, "ms": sheet.subject.costs.milliseconds}[axis]
        assert costs is not None
        for budget, mark in zip(sheet.budgets, curves.budgeted, strict=True):
            policy = Confidence(budget.thresholds, temperature=sheet.subject.temperatures)
            found = simulate(sheet.subject.logits, sheet.subject.labels, costs, policy)
            assert (mark.cost, mark.accuracy) == (found.mean_cost, found.accuracy)


def test_budgets_hold_on_the_split_they_were_solved_on(sheet: Sheet) -> None:
    logits, labels = sheet.subject.calibration
    macs = sheet.subject.costs.macs
    assert sheet.budgets[0].macs >= macs[0]
    assert sheet.budgets == tuple(sorted(sheet.budgets))
    for budget in sheet.budgets:
        policy = Confidence(budget.thresholds, temperature=sheet.subject.temperatures)
        assert simulate(logits, labels, macs, policy).mean_cost <= budget.macs * (1 + 1e-9)


def test_energy_gets_an_axis_where_it_was_measured(profiled: Run) -> None:
    timings: list[dict[str, Any]] = [
        {
            "library": "onnxruntime",
            "graphs": "segments",
            "exit": k,
            "batch": 1,
            "latency": {"p50": float(k)},
            "energy": {"millijoules": 10.0 * k, "idle_millijoules": 1.0, "images": 9},
        }
        for k in (1, 2, 3)
    ]
    sheet = Sheet.of(profiled, profile_json(profiled, timings=timings))
    assert sheet.subject.costs.millijoules == (10.0, 20.0, 30.0)
    assert sheet.curves["mj"].oracle[0].cost == 10.0


def test_measured_points_are_shown_as_measured(profiled: Run) -> None:
    point = {"kind": "threshold", "name": "", "threshold": 0.5, "accuracy": 0.75, "latency_ms": 2.0}
    points = [{**point, "provenance": "measured"}, {**point, "provenance": "simulated"}]
    sheet = Sheet.of(profiled, profile_json(profiled, points=points))
    assert sheet.curves["ms"].measured == [Mark(2.0, 0.75, "confidence > 0.5, measured")]
    rows = [row for row in curve_rows([sheet]) if row["provenance"] == "measured"]
    assert [(row["series"], row["unit"]) for row in rows] == [("measured", "ms")]


def test_the_files_have_every_point_and_mark_the_bounds(sheet: Sheet) -> None:
    rows = list(csv.DictReader(io.StringIO(curves_csv([sheet, sheet]))))
    assert len(rows) == 2 * sum(len(curves.marks()) for curves in sheet.curves.values())
    assert {row["series"] for row in rows if row["bound"] == "True"} == {"random", "oracle"}
    assert all(0 <= float(row["accuracy"]) <= 1 for row in rows)
    points = json.loads(json.dumps(curves_json([sheet])))["points"]
    assert [row["label"] for row in points] == [row["label"] for row in rows[: len(points)]]


def test_images_show_accuracies_up_to_100_percent_at_most(sheet: Sheet, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    draw = curve_plot._draw_axis

    def record(axes: Any, *arguments: Any) -> None:
        draw(axes, *arguments)
        shown.append((axes.get_xlim(), axes.get_ylim()))

    monkeypatch.setattr(curve_plot, "_draw_axis", record)
    png, svg = curve_plot.curves_image([sheet], "png"), curve_plot.curves_image([sheet, sheet], "svg")
    assert Image.open(io.BytesIO(png)).width > 1000
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert len(shown) == 4
    for (left, right), (low, high) in shown:
        assert left == 0
        assert right > 0
        assert 0 <= low < high <= 1
    assert curve_plot.curves_image([sheet], "png") == png


@pytest.mark.parametrize("spread", [0.0022, 0.011, 0.06, 0.4])
def test_the_accuracies_at_the_axis_differ(sheet: Sheet, spread: float) -> None:
    curves = Curves(exits=[Mark(1.0 + k, 0.99 - spread * k / 2, f"exit {k + 1}") for k in range(3)])
    narrow = replace(sheet, curves=dict.fromkeys(sheet.curves, curves))
    axes = drawn_axes(curve_plot, lambda: curve_plot.curves_image([narrow], "png"))
    assert len(axes) == 2
    assert all(float(label) >= 0 for label in shown_labels(axes[1], "x")), "milliseconds without another prefix"
    for each in axes:
        labels = shown_labels(each, "y")
        assert len(labels) == len(set(labels)) >= 3


@pytest.mark.parametrize("name", ["$\\frac$", "模型 🚀", "_hidden", "שלום <b> & %"])
@pytest.mark.filterwarnings("error")
def test_a_name_is_shown_as_it_is_and_without_warnings(sheet: Sheet, name: str) -> None:
    named = replace(sheet, subject=replace(sheet.subject, name=name))
    assert Image.open(io.BytesIO(curve_plot.curves_image([named, sheet], "png"))).width > 1000


def test_logits_that_are_not_finite_stop_nothing_early(sheet: Sheet) -> None:
    logits = sheet.subject.logits.copy()
    logits[::5, 0] = np.nan
    logits[1::5, 1] = np.inf
    subject = replace(sheet.subject, logits=logits)
    curves = curves_of(subject, "macs", sheet.budgets, Outcomes(subject))
    assert curves is not None
    thresholds = spread_thresholds(logits, subject.costs.macs, SIMULATED_THRESHOLDS)
    for threshold, mark in zip(thresholds, curves.swept, strict=True):
        policy = Confidence(threshold, temperature=subject.temperatures)
        found = simulate(logits, subject.labels, subject.costs.macs, policy)
        assert (mark.cost, mark.accuracy) == (found.mean_cost, found.accuracy)


def test_a_profile_of_another_network_is_refused(profiled: Run, tmp_path: Path) -> None:
    from edgemate.errors import UsageError

    run = Run(Path(shutil.copytree(profiled.path, tmp_path / "run")))
    profile = profile_json(run)
    del profile["exits"][2]
    with pytest.raises(UsageError, match="has 3 exits, its profile 2; profile it again"):
        Sheet.of(run, profile)
    assert asdict(Sheet.of(run, profile_json(run)).curves["macs"])["full"]
