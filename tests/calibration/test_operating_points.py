from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from edgemate.bundle import Bundle
from edgemate.calibration import OperatingPoint, OperatingPoints, read_operating_points
from edgemate.errors import BundleError, UsageError
from edgemate.policies import FixedExit

POINT = {
    "name": "fast",
    "policy": "confidence",
    "parameters": {"threshold": [0.9, 0.8]},
    "expected": {"accuracy": 0.9, "mean_macs": 5e6, "fractions": [0.5, 0.25, 0.25]},
}


def write_points(bundle: Path, content: Any) -> Bundle:
    (bundle / "policies.json").write_text(json.dumps(content))
    return Bundle.open(bundle, verify=False)


def test_a_bundle_gives_its_points_and_they_give_policies(small_bundle: Bundle) -> None:
    points = read_operating_points(small_bundle)
    assert points.names() == ["fast", "balanced", "accurate", "full"]
    assert points.get("full").as_policy().fixed_exit == 3
    assert points.get("full").thresholds is None
    assert len(points.get("fast").thresholds or ()) == 2


def test_points_survive_json() -> None:
    points = OperatingPoints(points=(OperatingPoint.model_validate(POINT),))
    assert OperatingPoints.model_validate_json(points.model_dump_json()) == points


def test_no_points_at_all_are_refused(own_bundle: Path) -> None:
    content = {"format_version": 3, "points": []}
    with pytest.raises(BundleError, match="points"):
        read_operating_points(write_points(own_bundle, content))


def test_an_unknown_name_suggests_the_closest() -> None:
    points = OperatingPoints(points=(OperatingPoint.model_validate(POINT),))
    with pytest.raises(UsageError, match="unknown operating point 'fats'; did you mean 'fast'"):
        points.get("fats")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"parameters": {"threshold": [0.9]}}, "fast: confidence: threshold has 1 number; 3 exits need 2"),
        (
            {"parameters": {"threshold": 0.9, "temperature": [1.0]}},
            "fast: confidence: temperature has 1 number; 3 exits need 2",
        ),
        (
            {"parameters": {"threshold": 0.9, "temperature": 1e-60}},
            "fast: confidence: temperature must be from 1e-06 to 1e\\+06, not 1e-60",
        ),
        ({"parameters": {"threshold": [0.9, 1.5]}}, "fast: confidence: threshold must be from 0 to 1, not 1.5"),
        ({"policy": "confidense"}, "fast: unknown exit policy 'confidense'; did you mean 'confidence'"),
        ({"policy": "edgemate.policies.confidence:Confidence"}, "fast: unknown exit policy"),
        ({"expected": {**POINT["expected"], "fractions": [0.5, 0.5, 0.5]}}, "fractions sum to 1.5, not 1"),
        ({"policy": "patience"}, "fast: patience: invalid parameters: .*threshold"),
        ({"policy": "learned"}, "fast: learned: invalid parameters: .*weights"),
        ({"policy": "fixed", "parameters": {"exit": 4}}, "fast: exit: 4 asked for; this network has exits 1 to 3"),
        ({"parameters": {"threshold": "high"}}, "fast: confidence: invalid parameters"),
        ({"parameters": {"threshold": None}}, "fast: confidence: invalid parameters"),
        ({"policy": "patience", "parameters": {"patience": "2"}}, "fast: patience: invalid parameters: .*integer"),
        ({"color": "red"}, "Extra inputs"),
    ],
)
def test_an_invalid_point_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        OperatingPoint.model_validate(POINT | changes)


def test_names_differ() -> None:
    with pytest.raises(ValidationError, match="same name"):
        OperatingPoints.model_validate({"points": [POINT, POINT]})


def test_an_older_format_says_what_to_do(own_bundle: Path) -> None:
    bundle = write_points(own_bundle, {"format_version": 2, "points": []})
    with pytest.raises(BundleError, match=r"policies\.json: .* older .*format 2.*: run edgemate calibrate again"):
        read_operating_points(bundle)


def test_a_policy_that_is_not_registered_cannot_be_written() -> None:
    class Unknown(FixedExit):
        name = "unknown"

    with pytest.raises(UsageError, match="fast: unknown exit policy 'unknown'"):
        OperatingPoint.of("fast", Unknown(1), expected=POINT["expected"])


def test_a_newer_format_is_named(own_bundle: Path) -> None:
    bundle = write_points(own_bundle, {"format_version": 9, "points": []})
    with pytest.raises(BundleError, match=r"policies\.json: was written by a newer edgemate \(format 9\)"):
        read_operating_points(bundle)


def test_points_of_another_network_are_refused(own_bundle: Path) -> None:
    expected = {"accuracy": 0.9, "mean_macs": 5e6, "fractions": [0.5, 0.5]}
    bundle = write_points(own_bundle, {"points": [{**POINT, "parameters": {"threshold": [0.9]}, "expected": expected}]})
    with pytest.raises(BundleError, match="operating point 'fast' is for 2 exits; the bundle has 3"):
        read_operating_points(bundle)


def test_a_bundle_without_points_says_so(own_bundle: Path) -> None:
    manifest = json.loads((own_bundle / "bundle.json").read_text())
    del manifest["files"]["policies.json"]
    (own_bundle / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"has no policies\.json"):
        read_operating_points(Bundle.open(own_bundle))


def test_there_are_not_too_many(own_bundle: Path) -> None:
    bundle = write_points(own_bundle, {"points": [{**POINT, "name": f"p{number}"} for number in range(1001)]})
    with pytest.raises(BundleError, match=r"points: has 1,001 points; the limit is 1,000"):
        read_operating_points(bundle)
