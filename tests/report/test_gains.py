"""What a method gains: differences paired by seed, and what thresholds do on the test split."""

from __future__ import annotations

import numpy as np
import pytest
from comparisons import comparison, method

from edgemate.calibration import CalibrationOptions, Request, calibrate, simulate
from edgemate.comparison.paired import Difference, difference
from edgemate.report.gains import DROP, Level, MethodGain, RunGain, columns, gains_json, gains_markdown, run_gain
from edgemate.runs import Run

WORSE, BETTER = [(0.5, 0.6, 0.7), (0.5, 0.62, 0.7)], [(0.6, 0.7, 0.8), (0.64, 0.7, 0.8)]


def gain(label: str, accuracies: list[tuple[float, ...]], budgeted: list[float]) -> MethodGain:
    runs = tuple(
        RunGain(f"{label}-seed{seed}", (Level(1, 1.0, value - 0.1), Level(2, 2.0, value + 0.1)), 2.0 + seed, 0.001)
        for seed, value in enumerate(budgeted)
    )
    return MethodGain(method(label, accuracies), runs)


@pytest.fixture
def gains() -> list[MethodGain]:
    return [gain("joint_ce", WORSE, [0.6, 0.7]), gain("mate", BETTER, [0.5, 0.65])]


def test_a_difference_is_paired_by_seed() -> None:
    found = difference([0.5, 0.6, 0.7], [0.4, 0.4, 0.4])
    assert found.mean == pytest.approx(0.2)
    assert found.error == pytest.approx(0.1 / 3**0.5)
    assert difference([0.5, 0.6], [0.4, 0.5]).error == pytest.approx(0)
    assert Difference(-0.0057, 0.0039).in_points() == "−0.57 ± 0.39"
    assert difference([0.5], [0.25]) == Difference(0.25, None)
    with pytest.raises(ValueError, match="zip"):
        difference([0.5], [0.25, 0.5])


def test_each_column_has_a_best_of_its_own(gains: list[MethodGain]) -> None:
    assert {column.key: column.best.method.label for column in columns(gains)} == {
        "mean": "mate",
        "exit1": "mate",
        "budgeted": "joint_ce",
    }
    tree = gains_json(gains)
    assert tree["methods"][1]["to_best"]["budgeted"]["mean"] == pytest.approx(-0.075)
    assert tree["methods"][0]["to_best"]["budgeted"] == {"mean": 0, "error": 0}
    assert tree["methods"][0]["runs"][1]["budgeted"] == pytest.approx(0.7)


def test_the_table_has_the_best_first_and_differences_to_it(gains: list[MethodGain]) -> None:
    found = comparison(*(one.method for one in gains))
    rows = [line.split(" | ") for line in gains_markdown(found, gains).splitlines() if line.startswith("| `")]
    assert rows[0][:3] == ["| `mate`", "**70.67**", ""]
    assert rows[1][:3] == ["| `joint_ce`", "60.33", "−10.33 ± 0.33"]
    assert rows[0][5:7] == ["57.50", "−7.50 ± 2.50"]
    assert rows[0][7] == "2.50 ± 0.71 ×"


def test_a_gain_in_accuracy_has_the_minus_sign_of_the_other_columns() -> None:
    better = [MethodGain(method("mate", [(0.5,)]), (RunGain("mate-seed0", (), 2.0, -0.001),))]
    assert "| 2.00 × | −0.10 |" in gains_markdown(comparison(better[0].method), better)


def test_networks_with_one_exit_have_no_budgeted_column() -> None:
    single = [MethodGain(method("joint_ce", [(0.5,)]), (RunGain("joint_ce-seed0", (), 1.0, 0.0),))]
    assert [column.key for column in columns(single)] == ["mean", "exit1"]
    assert "budgeted |" not in gains_markdown(comparison(single[0].method), single)


def test_the_speed_up_is_what_thresholds_of_the_calibration_split_do_on_the_test_split(finished_run: Run) -> None:
    macs = [1e6, 2e6, 3e6]
    found = run_gain(finished_run, macs)
    options = CalibrationOptions([Request("one", max_drop=DROP)])
    (point,) = calibrate(*finished_run.read_logits("calibration"), macs, options).points.points
    test = finished_run.read_logits("test")
    expected = simulate(*test, macs, point.as_policy())
    assert found.speedup == pytest.approx(3e6 / expected.mean_cost)
    full = float(np.mean(test[0][:, -1].argmax(-1) == test[1]))
    assert found.lost == pytest.approx(full - expected.accuracy)


def test_one_exit_gains_nothing(finished_run: Run) -> None:
    assert run_gain(finished_run, [1e6]) == RunGain(finished_run.name, (), 1.0, 0.0)
