"""What the classifier counts, deadlines kept and missed, and temperatures at run time."""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import Opener
from counting_backend import CountingBackend
from scripted_backend import ScriptedBackend

from edgemate.bundle import Bundle
from edgemate.calibration import OperatingPoint, calibrate_bundle, read_operating_points
from edgemate.policies import Confidence, Deadline, FixedExit, scores
from edgemate.runtime import AnytimeClassifier, evaluate, evaluate_policy, measure_stops
from edgemate.runtime.segment_times import SegmentTimes


@pytest.fixture
def backend(opener: Opener) -> CountingBackend:
    return CountingBackend(opener())


@pytest.fixture
def classifier(opener: Opener, backend: CountingBackend) -> AnytimeClassifier:
    return AnytimeClassifier(opener.bundle, backend)


def test_exits_and_probabilities_are_counted(classifier: AnytimeClassifier, small_bundle: Bundle) -> None:
    images = small_bundle.golden().images
    answers = classifier.classify(images, Confidence(0.9)) + classifier.classify(images[:3], FixedExit(2))
    found = classifier.statistics()
    assert found.answers == tuple(sum(answer.exit == exit for answer in answers) for exit in (1, 2, 3))
    assert found.probability_sum == pytest.approx(sum(answer.probability for answer in answers))
    assert (found.images, found.deadlines, found.late) == (27, 0, 0)
    classifier.reset_statistics()
    assert classifier.statistics().images == 0


def test_answers_that_come_after_the_deadline_are_counted(classifier: AnytimeClassifier, small_bundle: Bundle) -> None:
    images = small_bundle.golden().images
    classifier.classify(images[:5], Deadline(1e-6, segment_ms=(1, 1, 1)))
    classifier.classify(images[:4], Deadline(1e6, segment_ms=(1, 1, 1)))
    found = classifier.statistics()
    assert (found.answers, found.deadlines, found.late) == ((5, 0, 4), 9, 5)


def test_a_stream_ends_where_its_policy_stops(classifier: AnytimeClassifier, small_bundle: Bundle) -> None:
    for image in small_bundle.golden().images[:8]:
        [answer] = classifier.classify(image, Confidence(0.9))
        streamed = list(classifier.stream(image, Confidence(0.9)))
        assert [one.exit for one in streamed] == list(range(1, answer.exit + 1))
        assert [one.final for one in streamed] == [False] * (answer.exit - 1) + [True]


def test_a_stream_under_a_deadline_always_answers_once_and_counts_the_callers_time(
    classifier: AnytimeClassifier, backend: CountingBackend, small_bundle: Bundle
) -> None:
    image = small_bundle.golden().images[0]
    hurried = list(classifier.stream(image, Deadline(1e-6, segment_ms=(1, 1, 1))))
    assert [(one.exit, one.final) for one in hurried] == [(1, True)]
    backend.calls.clear()
    slow = classifier.stream(image, Deadline(100.0, segment_ms=(1, 1, 1)))
    assert not next(slow).final
    time.sleep(0.11)
    assert list(slow) == []
    assert backend.calls == [(1, 1)]
    assert (classifier.statistics().answers, classifier.statistics().deadlines) == ((2, 0, 0), 2)


@pytest.mark.parametrize("taken", [1, 2])
def test_a_stream_can_be_cut_off_at_any_answer(
    classifier: AnytimeClassifier, backend: CountingBackend, small_bundle: Bundle, taken: int
) -> None:
    image = small_bundle.golden().images[0]
    stream = classifier.stream(image, Deadline(1e6, segment_ms=(1, 1, 1)))
    answers = list(itertools.islice(stream, taken))
    stream.close()  # type: ignore[attr-defined]
    assert [answer.exit for answer in answers] == list(range(1, taken + 1))
    assert len(backend.calls) == taken
    assert classifier.statistics().answers[taken - 1] == 1
    assert len(classifier.classify(image)) == 1


def test_evaluating_is_classifying(classifier: AnytimeClassifier, small_bundle: Bundle) -> None:
    golden = small_bundle.golden()
    labels = golden.labels
    expected = read_operating_points(small_bundle).get("balanced").expected
    found = evaluate_policy(classifier, list(golden.images), labels, "balanced", batches=(1, 7))
    assert [one.batch for one in found] == [1, 7]
    for one in found:
        assert one.accuracy == pytest.approx(expected.accuracy)
        assert one.statistics.fractions == pytest.approx(expected.fractions)
        assert one.latency.repeats == -(-24 // one.batch)
        assert one.ms_per_image == pytest.approx(one.latency.mean * one.latency.repeats / 24)
    [unlabeled] = evaluate_policy(classifier, list(golden.images), None, None, batches=(4,))
    assert (unlabeled.accuracy, unlabeled.statistics.answers) == (None, (0, 0, 24))


def test_segments_are_not_measured_within_a_timed_call(
    classifier: AnytimeClassifier, small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[tuple[int, bool]] = []
    timing = False
    measure, in_turns = SegmentTimes.measure, evaluate.time_in_turns

    def noted(self: SegmentTimes, batch: int, repeats: int) -> tuple[float, ...]:
        measured.append((batch, timing))
        return measure(self, batch, repeats)

    def timed(*given: Any, **options: Any) -> Iterator[Any]:
        nonlocal timing
        timing = True
        yield from in_turns(*given, **options)
        timing = False

    monkeypatch.setattr(SegmentTimes, "measure", noted)
    monkeypatch.setattr(evaluate, "time_in_turns", timed)
    monkeypatch.setattr(evaluate, "BLOCK", 10)
    images = list(small_bundle.golden().images)  # 24, in blocks of 10, 10 and 4
    evaluate_policy(classifier, images, None, Deadline(1000.0), batches=(1, 8))
    assert sorted(measured) == [(1, False), (2, False), (4, False), (8, False)]


def test_a_latency_table_has_every_exit(classifier: AnytimeClassifier, small_bundle: Bundle) -> None:
    table = measure_stops(classifier, small_bundle.golden().images, device="here", warmup=1, repeats=10)
    assert [times.exit for times in table.exits] == [1, 2, 3]
    assert table.backend == classifier.backend.metadata()
    for times in table.exits:
        assert 0 < times.quantiles_ms[0] <= times.mean_ms <= times.quantiles_ms[-1]
        assert list(times.quantiles_ms) == sorted(times.quantiles_ms)
        assert times.segment_p99_ms > 0


def test_fitted_temperatures_are_in_probabilities_and_decisions(own_bundle: Path) -> None:
    pytest.importorskip("onnxruntime")
    golden = Bundle.open(own_bundle).golden()
    calibrate_bundle(own_bundle)
    with AnytimeClassifier.load(own_bundle, threads=1) as classifier:
        assert classifier.temperatures is not None
        for answer in classifier.stream(golden.images[0]):
            scaled = answer.logits[None] / np.float32(classifier.temperatures[answer.exit - 1])
            assert answer.probability == pytest.approx(scores.max_probability(scaled)[0])
        for answer in classifier.classify(golden.images, Confidence(0.9)):
            assert answer.exit == 3 or answer.probability > 0.9
        plain = classifier.classify(golden.images, Confidence(0.9, temperature=1.0))
        for answer, logits in zip(plain, golden.logits, strict=True):
            sure = [k for k in (1, 2) if scores.max_probability(logits[k - 1][None])[0] > 0.9]
            assert answer.exit == (sure[0] if sure else 3)
        points = read_operating_points(classifier.bundle)
        for name in points.names():
            fractions = [answer.exit for answer in classifier.classify(golden.images, name)]
            assert np.bincount(fractions, minlength=4)[1:] / 24 == pytest.approx(points.get(name).expected.fractions)


def test_measuring_segments_is_not_counted(small_bundle: Bundle) -> None:
    script = [[math.nan, 1.0, 0.0, 0.0]] * 3
    classifier = AnytimeClassifier(small_bundle, ScriptedBackend(*([row] for row in script)))
    classifier.measure_segments(repeats=3)
    assert (classifier.non_finite, classifier.statistics().images) == (0, 0)
    classifier.classify(small_bundle.golden().images[:1], Deadline(1e6))
    assert classifier.non_finite == 3


def test_an_operating_point_becomes_a_policy_once(
    classifier: AnytimeClassifier, small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    as_policy = OperatingPoint.as_policy
    monkeypatch.setattr(OperatingPoint, "as_policy", lambda point: made.append(point.name) or as_policy(point))
    images = small_bundle.golden().images
    answers = [classifier.classify(images, name) for name in ("balanced", "full", "balanced", "full")]
    assert made == ["balanced", "full"]
    for first, again in ((0, 2), (1, 3)):
        assert [one.exit for one in answers[first]] == [one.exit for one in answers[again]]


def test_threads_that_share_a_classifier_keep_their_policies_and_lose_no_count(
    small_bundle: Bundle, own_bundle: Path
) -> None:
    calibrate_bundle(own_bundle)  # with temperatures, so that policies are made anew
    said = [[0.0, 1.0, 0.0, 0.0]]
    classifier = AnytimeClassifier(Bundle.open(own_bundle), ScriptedBackend(said, said, said))
    image = small_bundle.golden().images[:1]

    def work(threshold: float) -> set[int]:
        return {classifier.classify(image, Confidence(threshold))[0].exit for _ in range(400)}

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(work, (0.0, 1.0, 0.0, 1.0)))
    finally:
        sys.setswitchinterval(interval)
    assert found == [{1}, {3}, {1}, {3}]
    assert classifier.statistics().answers == (800, 0, 800)
