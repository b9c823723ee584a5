"""Conclusions of the benchmarks of early exit."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from scripts import load_script

from edgemate.calibration import OperatingPoint
from edgemate.monitoring import Statistics
from edgemate.policies import Confidence
from edgemate.runtime import Measured
from edgemate.timing import Latency

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")


def row(points: float, full_points: float, **changes: Any) -> dict[str, Any]:
    held = load_script("benchmarks/early_exit_speedup.py").held(points)
    return {"run": "a", "batch": 1, "points": points, "accuracy_held": held, "full_points": full_points, **changes}


def test_too_large_a_loss_is_marked_and_attributed_to_the_network_where_it_is_the_cause() -> None:
    remarks = load_script("benchmarks/early_exit_speedup.py").remarks
    assert remarks([row(-0.5, 0.1), row(0.2, -0.5, batch=16)]) == []
    [marked] = remarks([row(-0.51, 0.1), row(-0.5, 0.1, batch=16)])
    assert marked == "! a, batch 1: 0.51 points below the plain network, more than 0.5"
    found = remarks([row(-1.2, -0.8), row(-1.2, -0.8, batch=16)])
    assert [line[:1] for line in found] == ["!", "!", "a"]
    assert "already 0.80 points below the plain one" in found[2]


def test_every_deadline_is_judged_separately() -> None:
    deadlines = np.array([3.0, 1.0, 9.0])
    which = np.repeat([0, 1, 2], [100, 100, 9800])
    late = np.zeros(10_000, bool)
    late[:2] = late[100:150] = True  # 2 of 100 are 0.02 % of all above the limit
    found = load_script("benchmarks/deadline.py").judged(deadlines, which, late, np.ones(10_000, int), 2.0)
    assert [(one["deadline_ms"], one["held"]) for one in found["results"]] == [(1.0, None), (3.0, False), (9.0, True)]
    assert found["late_above_p99"] < 0.001
    assert not found["held"]
    late[1] = False
    assert load_script("benchmarks/deadline.py").judged(deadlines, which, late, np.ones(10_000, int), 2.0)["held"]


def test_rows_have_the_accuracy_gap_with_its_standard_error_and_the_drop() -> None:
    script = load_script("benchmarks/policy_prediction.py")
    rows = []
    for name, predicted, found in (("fast", 0.92, 0.914), ("full", 0.93, 0.925)):
        expected = {"accuracy": predicted, "mean_macs": 1.0, "mean_ms": 1.0, "p99_ms": 2.0, "fractions": [1.0]}
        point = OperatingPoint.of(name, Confidence([]), images=6000, expected=expected)
        statistics = Statistics(answers=(10_000,), probability_sum=1.0)
        rows.append(script._row(point, Measured(1, found, Latency.of([1.0, 1.1]), 1.0, statistics)))
    script.add_drops(rows)
    assert rows[0]["points"] == pytest.approx(-0.6)
    assert rows[0]["standard_error"] == pytest.approx(100 * (0.92 * 0.08 / 6000 + 0.914 * 0.086 / 10_000) ** 0.5)
    assert not rows[0]["beyond_two_standard_errors"]
    assert (rows[0]["drop_predicted"], rows[0]["drop"]) == (pytest.approx(1.0), pytest.approx(1.1))
    assert rows[1]["drop"] == 0
