from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from told import Told

from edgemate.exits import Confidence, calibrate, simulate
from edgemate.exporting import Exported
from edgemate.models import ExitCost
from edgemate.profiling.tradeoff import measured_points, simulated_points, spread_thresholds
from edgemate.runs import Run, SplitLogits
from edgemate.runtime import AnytimeClassifier


@st.composite
def stored(draw: st.DrawFn) -> tuple[SplitLogits, list[float]]:
    images, exits, classes = draw(st.integers(1, 40)), draw(st.integers(2, 4)), draw(st.integers(2, 5))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = (random.standard_normal((images, exits, classes)) * 3).astype(np.float32)
    costs = np.cumsum(random.integers(1, 1000, exits)).astype(float).tolist()
    return SplitLogits(logits, random.integers(0, classes, images)), costs


def exit_costs(chained: list[float]) -> list[ExitCost]:
    return [ExitCost(k + 1, int(cost) - k, int(cost), 1, 1) for k, cost in enumerate(chained)]


@given(stored(), st.integers(3, 20))
def test_thresholds_span_the_curve_evenly(case: tuple[SplitLogits, list[float]], count: int) -> None:
    (logits, labels), costs = case
    thresholds = spread_thresholds(logits, costs, count)
    assert thresholds[0] == 0
    assert thresholds[-1] == 1
    assert thresholds == sorted(set(thresholds))
    assert len(thresholds) <= count
    found = [simulate(logits, labels, costs, Confidence(threshold)).mean_cost for threshold in thresholds]
    assert found == sorted(found)
    assert found[0] == pytest.approx(costs[0])
    assert found[-1] == pytest.approx(costs[-1])
    # One image's next exit is the finest step there is: every target is met to within that.
    finest = max(np.diff(costs)) * (len(costs) - 1) / len(labels)
    for target in np.linspace(costs[0], costs[-1], count):
        assert min(abs(cost - target) for cost in found) <= finest + 1e-6 * costs[-1]


def test_one_exit_has_nothing_to_sweep() -> None:
    assert spread_thresholds(np.zeros((3, 1, 2), np.float32), [5.0], 11) == []


def test_simulated_points_are_what_the_policies_would_do(finished_run: Run) -> None:
    test = finished_run.read_logits("test")
    costs = [100.0, 250.0, 400.0]
    named = calibrate(*finished_run.read_logits("calibration"), costs).points.points
    points = simulated_points(test, exit_costs(costs), named)
    assert {point.curve for point in points} == {"accuracy-macs"}
    assert {point.provenance for point in points} == {"simulated"}
    assert all(point.latency_ms is None and point.flops == 2 * point.macs for point in points)
    assert all(point.images == len(test.labels) for point in points)
    for point in points:
        if point.kind == "threshold":
            assert point.threshold is not None
            found = simulate(*test, costs, Confidence(point.threshold))
            assert (point.accuracy, point.macs) == (found.accuracy, found.mean_cost)
    assert [point.name for point in points if point.kind == "operating point"] == [point.name for point in named]
    assert [(p.exit, p.macs) for p in points if p.kind == "fixed exit"] == [(1, 100), (2, 249)]
    assert [(p.exit, p.macs) for p in points if p.kind == "full network"] == [(3, 398)]


def test_measured_points_really_ran(finished_run: Run, exported: Exported) -> None:
    logits, labels = finished_run.read_logits("test")
    images = finished_run.read_golden().images[:30]
    macs = [float(metadata.chained_macs) for metadata in exported.bundle.manifest.exits]
    calls = {"segments": 0, "prefixes": 0}
    told = Told()
    with (
        AnytimeClassifier.load(exported.bundle.path, threads=1) as segments,
        AnytimeClassifier.load(exported.bundle.path, threads=1, layout="prefixes") as prefixes,
    ):
        for classifier in (segments, prefixes):
            _count(classifier, calls)
        points = measured_points(segments, prefixes, images, labels[:30], [0.0, 0.6, 1.0], [], told)
    assert [point.kind for point in points] == ["threshold"] * 3 + ["fixed exit"] * 2 + ["full network"]
    assert calls["segments"] == calls["prefixes"] > 30 * 3 * 5
    assert told[0] == "measuring 6 ways to answer, image"
    assert f"{told[0]}: 25 of 150" in told
    for point in points:
        assert point.provenance == "measured"
        assert point.images == 30
        assert point.latency_ms is not None
        assert point.latency_ms > 0
    for point, threshold in zip(points, (0.0, 0.6, 1.0), strict=False):
        found = simulate(logits[:30], labels[:30], macs, Confidence(threshold))
        assert point.accuracy == pytest.approx(found.accuracy)
        assert point.macs == pytest.approx(found.mean_cost)
    assert [point.macs for point in points[3:]] == [metadata.macs for metadata in exported.bundle.manifest.exits]


def _count(classifier: AnytimeClassifier, calls: dict[str, int]) -> None:
    classify = classifier.classify

    def counted(images: npt.NDArray[np.float32], **options: object) -> object:
        assert images.shape == (1, 1, 8, 8)
        calls[classifier.layout] += 1
        return classify(images, **options)

    classifier.classify = counted  # type: ignore[method-assign,assignment]


def test_a_slow_network_is_measured_in_fewer_passes(
    finished_run: Run, exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgemate.profiling.tradeoff.SLOW_MS", 0.0)
    images, labels = finished_run.read_golden()
    told = Told()
    with (
        AnytimeClassifier.load(exported.bundle.path, threads=1) as segments,
        AnytimeClassifier.load(exported.bundle.path, threads=1, layout="prefixes") as prefixes,
    ):
        points = measured_points(segments, prefixes, images[:30], labels[:30], [0.0, 1.0], [], told)
    assert told[-1].endswith("85 of 90")
    assert all(point.latency_ms and np.isfinite(point.latency_ms) for point in points)
