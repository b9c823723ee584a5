from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgemate.calibration import OperatingPoint
from edgemate.errors import BundleError, UsageError
from edgemate.monitoring import Statistics, drift_alerts, read_statistics

POINT = OperatingPoint.model_validate(
    {
        "name": "balanced",
        "policy": "confidence",
        "parameters": {"threshold": [0.9, 0.8]},
        "images": 5000,
        "expected": {
            "accuracy": 0.9,
            "mean_macs": 5e6,
            "fractions": [0.7, 0.3, 0.0],
            "probability": {"mean": 0.95, "deviation": 0.1},
        },
    }
)


def test_images_like_the_calibrated_ones_are_within_the_range() -> None:
    random = np.random.default_rng(0)
    for images in (1, 3, 50, 1000, 100_000):
        answers = tuple(random.multinomial(images, [0.7, 0.3, 0.0]).tolist())
        found = Statistics(answers=answers, probability_sum=float(random.normal(0.95, 0.1, images).sum()))
        assert drift_alerts(found, POINT) == []


def test_other_images_are_named_with_what_was_calibrated() -> None:
    found = drift_alerts(Statistics(answers=(500, 300, 200), probability_sum=800.0), POINT)
    assert found[0].startswith("exit 1 answers 50.0 % of the images; calibrated 63.")
    assert [line.partition(" answers")[0] for line in found[:2]] == ["exit 1", "exit 3"]
    assert found[-1].startswith("mean probability 0.800; calibrated 0.9")


def test_an_exit_that_calibration_never_took_may_be_taken_once() -> None:
    assert drift_alerts(Statistics(answers=(700, 299, 1), probability_sum=950.0), POINT) == []


def test_without_images_there_is_no_alert_and_another_network_is_refused() -> None:
    assert drift_alerts(Statistics(answers=(0, 0, 0), probability_sum=0.0), POINT) == []
    with pytest.raises(UsageError, match="statistics are for 2 exits; operating point 'balanced' is for 3"):
        drift_alerts(Statistics(answers=(1, 1), probability_sum=1.0), POINT)


def test_they_can_be_stored(tmp_path: Path) -> None:
    found = Statistics(answers=(5, 3, 2), probability_sum=9.0, non_finite=1, deadlines=4, late=2)
    found.write(tmp_path / "statistics.json")
    assert read_statistics(tmp_path / "statistics.json") == found
    assert (found.images, found.fractions, found.mean_probability) == (10, (0.5, 0.3, 0.2), 0.9)
    (tmp_path / "statistics.json").write_text("{}")
    with pytest.raises(BundleError, match="answers: Field required"):
        read_statistics(tmp_path / "statistics.json")
