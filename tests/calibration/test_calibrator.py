from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from stored_logits import make_stored

from edgemate.bundle import Bundle
from edgemate.calibration import (
    DEFAULT_REQUESTS,
    CalibrationOptions,
    OperatingPoints,
    Request,
    calibrate,
    calibrate_bundle,
    read_operating_points,
    simulate,
)
from edgemate.errors import BundleError, UsageError
from edgemate.latency_tables import QUANTILES, LatencyTable, StopTimes, write_latency_table
from edgemate.policies import Learned


def table(exits: int, device: str = "board") -> LatencyTable:
    """Exit k takes between k and 2k ms, evenly."""
    return LatencyTable(
        device=device,
        machine={"processor": "a board"},
        backend={"onnxruntime": "1"},
        repeats=100,
        exits=tuple(
            StopTimes(
                exit=k,
                mean_ms=1.5 * k,
                quantiles_ms=tuple(k * (1 + quantile / 100) for quantile in QUANTILES),
                segment_p99_ms=1.99,
            )
            for k in range(1, exits + 1)
        ),
    )


@pytest.mark.parametrize("solver", ["direct", "msdnet", "eenet", "patience"])
@pytest.mark.parametrize("fit", [True, False])
def test_expected_figures_are_simulated_and_survive_json(solver: str, fit: bool) -> None:
    logits, labels, costs = make_stored(150, 4, 6)
    found = calibrate(logits, labels, costs, CalibrationOptions(solver=solver, fit_temperatures=fit)).points
    again = OperatingPoints.model_validate_json(found.model_dump_json())
    assert again == found
    assert again.names() == ["fast", "balanced", "accurate", "full"]
    full = np.mean(logits[:, -1].argmax(axis=1) == labels)
    for point, request in zip(again.points, DEFAULT_REQUESTS, strict=True):
        done = simulate(logits, labels, costs, point.as_policy())
        assert point.expected.accuracy == done.accuracy
        assert point.expected.mean_macs == done.mean_cost
        assert point.expected.fractions == done.fractions
        assert done.accuracy >= full - (request.max_drop or 0) - 1e-9
        assert (point.images, point.expected.mean_ms) == (150, None)
    assert again.get("full").expected.fractions == (0, 0, 0, 1)
    assert (again.temperatures is not None) == fit
    assert isinstance(again.get("fast").as_policy(), Learned) == (solver == "eenet")


def test_temperatures_calibrate_confidence() -> None:
    random = np.random.default_rng(0)
    calibrated = random.normal(size=(3000, 2, 5)).astype(np.float32) * 1.5
    noise = random.gumbel(size=(3000, 5))
    labels = (calibrated[:, 0] + noise).argmax(axis=1)
    overconfident = calibrated.copy()
    overconfident[:, 0] *= 3
    found = calibrate(overconfident, labels, [1.0, 2.0]).points.temperatures
    assert found is not None
    assert found[0].temperature == pytest.approx(3, rel=0.1)
    assert found[0].ece_before > 0.1
    assert found[0].ece_after < 0.03
    assert found[0].nll_after < found[0].nll_before


def test_an_exit_that_is_always_right_gets_the_lowest_temperature_and_one_class_none() -> None:
    labels = np.zeros(20, np.int64)
    right = np.tile(np.array([5, 0], np.float32), (20, 2, 1))
    right[:, 1, 0] = np.nan
    found = calibrate(right, labels, [1.0, 2.0]).points.temperatures
    assert found is not None
    assert [exit.temperature for exit in found] == [pytest.approx(0.1), 1.0]
    alone = calibrate(np.ones((5, 3, 1), np.float32), np.zeros(5, np.int64), [1.0, 2.0, 3.0]).points
    assert {exit.temperature for exit in alone.temperatures or ()} == {1.0}
    assert alone.get("accurate").expected.fractions == (1, 0, 0)


def test_a_latency_table_gives_costs_and_predicted_times() -> None:
    logits, labels, macs = make_stored(500, 3, 5)
    options = CalibrationOptions((Request("quick", mean_ms=2.0),))
    found = calibrate(logits, labels, macs, options, latency=table(3))
    assert (found.points.costs, found.points.device) == ("latency", "board")
    expected = found.points.get("quick").expected
    assert expected.mean_ms == pytest.approx(np.dot(expected.fractions, [1.5, 3.0, 4.5]))
    assert expected.mean_ms is not None
    assert 1.8 < expected.mean_ms <= 2.0
    assert expected.p99_ms is not None
    assert 2 < expected.p99_ms < 6


def test_a_goal_that_a_solver_cannot_reach_is_recorded_as_not_reached() -> None:
    logits, labels, macs = make_stored(200, 3, 5)
    # Patience asks exit 2 at least, which costs more than this.
    near = macs[0] + 0.1 * (macs[1] - macs[0])
    quick = (Request("macs", mean_macs=near), Request("latency", mean_ms=1.6), Request("drop", max_drop=0.9))
    for solver, reached in (("patience", [False, False, True]), ("direct", [True] * 3), ("msdnet", [True] * 3)):
        found = calibrate(logits, labels, macs, CalibrationOptions(quick, solver), latency=table(3)).points
        assert [point.goal_reached for point in found.points] == reached
        assert OperatingPoints.model_validate_json(found.model_dump_json()) == found


def test_the_p99_of_a_mixture_is_that_of_its_parts_where_there_is_one() -> None:
    assert table(3).p99_ms((0, 1, 0)) == pytest.approx(2 * 1.99)
    assert table(3).p99_ms((0.995, 0, 0.005)) < table(3).p99_ms((0.9, 0, 0.1)) < table(3).p99_ms((0, 0, 1))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"requests": (Request("macs", mean_macs=0.1),)}, "macs: exit 1 alone takes"),
        ({"requests": (Request("quick", mean_ms=3.0),)}, "quick: a mean latency needs the latency table of a device"),
        ({"solver": "dirct"}, "unknown solver 'dirct'; did you mean 'direct'"),
        ({"score": "entropie"}, "unknown score 'entropie'; did you mean 'entropy'"),
        ({"score": "patience"}, "unknown score 'patience'; known: confidence, entropy, margin"),
        ({"solver": "eenet", "score": "margin"}, "score 'margin': solver 'eenet' has its own"),
        ({"requests": (Request("drop", max_drop=2.0),)}, "max_drop: must be a fraction from 0 to 1"),
    ],
)
def test_invalid_options_are_named(options, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        calibrate(*make_stored(30, 3, 4), CalibrationOptions(**options))
    assert problem in str(caught.value)


def test_a_bundle_stays_whole_and_can_be_calibrated_without_its_data(own_bundle: Path) -> None:
    before = Bundle.open(own_bundle).manifest
    found = calibrate_bundle(own_bundle, CalibrationOptions((Request("drop", max_drop=0.1),), score="margin"))
    bundle = Bundle.open(own_bundle)
    assert read_operating_points(bundle) == found.points
    assert {file for file in before.files if before.files[file] != bundle.manifest.files[file]} == {"policies.json"}
    assert bundle.manifest.model_copy(update={"files": {}}) == before.model_copy(update={"files": {}})


def test_the_only_device_measured_is_the_default(own_bundle: Path) -> None:
    bundle = Bundle.open(own_bundle)
    options = CalibrationOptions((Request("latency", mean_ms=2.0),))
    with pytest.raises(UsageError, match="a mean latency needs the device that it is for; none is measured"):
        calibrate_bundle(own_bundle, options)
    assert calibrate_bundle(own_bundle).points.costs == "macs"
    write_latency_table(bundle, table(3))
    assert calibrate_bundle(own_bundle, options).points.device == "board"
    write_latency_table(bundle, table(3, "other"))
    assert calibrate_bundle(own_bundle).points.costs == "macs"
    assert calibrate_bundle(own_bundle, device="other").points.device == "other"
    with pytest.raises(UsageError, match=r"device 'bord': not measured .* did you mean 'board'"):
        calibrate_bundle(own_bundle, device="bord")
    write_latency_table(bundle, table(2, "small"))
    with pytest.raises(BundleError, match=r"small\.json: is for 2 exits; the bundle has 3"):
        calibrate_bundle(own_bundle, device="small")
    Bundle.open(own_bundle)


def test_a_bundle_without_calibration_logits_says_so(own_bundle: Path) -> None:
    manifest = json.loads((own_bundle / "bundle.json").read_text())
    del manifest["files"]["calibration.npz"]
    (own_bundle / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"has no calibration\.npz, which thresholds are chosen from; export the run"):
        calibrate_bundle(own_bundle)


def test_an_interrupted_calibration_is_repaired_by_the_next(own_bundle: Path) -> None:
    (own_bundle / "policies.json").write_text("half of it")
    with pytest.raises(BundleError, match=r"policies\.json: has \d+ bytes where"):
        Bundle.open(own_bundle)
    calibrate_bundle(own_bundle)
    Bundle.open(own_bundle)


def test_damaged_logits_are_refused(own_bundle: Path) -> None:
    path = own_bundle / "calibration.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(BundleError, match=r"calibration\.npz"):
        calibrate_bundle(own_bundle)


def test_a_guarantee_is_in_the_point_and_the_required_samples_are_beside_it() -> None:
    logits = np.zeros((700, 3, 2), np.float32)
    logits[:, :, 0] = 5
    labels = np.zeros(700, np.int64)
    options = CalibrationOptions((Request("guaranteed", risk=0.01),))
    found = calibrate(logits, labels, [1.0, 2.0, 3.0], options)
    bound = found.points.get("guaranteed").guarantee
    assert bound is not None
    assert (bound.risk, bound.delta, bound.images, bound.lost) == (0.01, 0.05, 700, 0)
    assert found.required_samples == {}
    assert found.points.get("guaranteed").parameters["temperature"] == [1, 1]
    few = calibrate(logits[:50], labels[:50], [1.0, 2.0, 3.0], options)
    assert few.points.get("guaranteed").guarantee is None
    assert few.points.get("guaranteed").expected.fractions == (0, 0, 1)
    assert (few.required_samples["guaranteed"] or 0) > 300
    assert not few.points.get("guaranteed").goal_reached
    assert found.points.get("guaranteed").goal_reached
