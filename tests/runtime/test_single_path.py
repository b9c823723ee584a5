"""One image on its own path is answered as it is in a batch, by every policy."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis.extra import numpy as hnp
from scripted_backend import StoredBackend

from edgemate.bundle import Bundle
from edgemate.errors import BackendError, EdgemateError
from edgemate.policies import (
    Confidence,
    Deadline,
    Entropy,
    FixedExit,
    Learned,
    Margin,
    Patience,
    Policy,
    ScorePolicy,
    StopRule,
    scores,
)
from edgemate.policies.policy import rule_of, single_of
from edgemate.runtime import AnytimeClassifier, Prediction
from edgemate.runtime.backends.base import Answered, Answering, ForwardPass
from edgemate.runtime.batch_path import classify_batch
from edgemate.runtime.network import Network
from edgemate.runtime.opening import OnFailure
from edgemate.runtime.single_path import SinglePath

IMAGE = np.zeros((1, 3, 8, 8), np.float32)
NUMBERS = st.one_of(
    st.floats(-12, 12, width=32),
    st.integers(-2, 2).map(float),  # ties
    # As float32 has them: NumPy 1 compares with the float that is given.
    st.sampled_from([float(np.float32(one)) for one in (math.nan, math.inf, -math.inf, 3e38, -3e38, 1e20, 1e-40)]),
)

LATE = np.array([[[math.nan, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]], np.float32)
"""The first exit says nothing, and those after it do not agree."""


class Collision(ScorePolicy):
    """Somebody's own score."""

    name = "collision"
    highest = 1.0

    @staticmethod
    def score(logits: np.ndarray) -> np.ndarray:
        found: np.ndarray = (scores.softmax(logits) ** 2).sum(axis=1)
        return found


class Reversed(Confidence):
    """A known policy with another score."""

    @staticmethod
    def score(logits: np.ndarray) -> np.ndarray:
        found: np.ndarray = 1 - scores.max_probability(logits)
        return found


class Never(Patience):
    """A known policy that decides otherwise."""

    def begin(self, images: int, exits: int) -> Any:
        return FixedExit(exits).begin(images, exits)


def policies(exits: int, classes: int) -> st.SearchStrategy[Policy]:
    def per_exit(numbers: st.SearchStrategy[float]) -> st.SearchStrategy[list[float]]:
        return st.lists(numbers, min_size=exits - 1, max_size=exits - 1)

    fractions = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
    temperatures = st.one_of(st.none(), per_exit(st.one_of(st.floats(0.05, 20), st.just(1.0))))
    kinds = [
        st.builds(kind, per_exit(fractions), temperature=temperatures)
        for kind in (Confidence, Margin, Collision, Reversed)
    ]
    nats = st.one_of(st.floats(0, 3), st.sampled_from([0.0, math.log(classes), 1e300]))
    weights = st.tuples(
        *(st.lists(st.floats(-2, 2), min_size=n, max_size=n) for n in range(classes + 3, classes + 2 + exits))
    )
    inner = st.one_of(
        *kinds,
        st.builds(Entropy, per_exit(nats), temperature=temperatures),
        st.builds(Learned, per_exit(fractions), weights=weights, temperature=temperatures),
        st.builds(Patience, st.integers(1, 3)),
        st.builds(Never, st.integers(1, 3)),
        st.builds(FixedExit, st.integers(1, exits)),
    )
    # Times that are far from the deadline on either side, so that the clock does not decide.
    times = st.lists(st.sampled_from([0.0, 2e9]), min_size=exits, max_size=exits)
    return st.one_of(inner, st.builds(lambda i, t: Deadline(1e9, segment_ms=t, inner=i), st.none() | inner, times))


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, Policy, tuple[float, ...] | None]:
    exits, classes = draw(st.integers(1, 4)), draw(st.integers(1, 40))
    logits = draw(hnp.arrays(np.float32, (1, exits, classes), elements=NUMBERS, fill=st.floats(-4, 4, width=32)))
    temperatures = draw(st.none() | st.lists(st.floats(0.1, 9), min_size=exits, max_size=exits).map(tuple))
    return logits, draw(policies(exits, classes)), temperatures


class Opened(Network):
    """A network of as many exits and classes as the logits have."""

    def __init__(self, bundle: Bundle, backend: StoredBackend, degrades: bool, temperatures: Any) -> None:
        exits, classes = backend.logits.shape[1:]
        manifest = bundle.manifest.model_copy(
            update={
                "exits": (bundle.manifest.exits * 2)[:exits],
                "classes": tuple(map(str, range(classes))),
            }
        )
        copy = object.__new__(Bundle)
        vars(copy).update(vars(bundle))
        object.__setattr__(copy, "manifest", manifest)
        super().__init__(copy, backend, "segments", degrades, temperatures)


class FailsAfter(StoredBackend):
    """Fails at every exit after `works` of them; with one image at a time as with several."""

    def __init__(self, logits: np.ndarray, works: int) -> None:
        super().__init__(logits)
        self.works = works

    def begin(self, images: np.ndarray) -> ForwardPass:
        flow = super().begin(images)
        advance, calls = flow.advance, iter(range(self.works))

        def advance_or_fail() -> np.ndarray:
            if next(calls, None) is None:
                raise BackendError("segment: fails")
            return advance()

        flow.advance = advance_or_fail  # type: ignore[method-assign]
        return flow


def shown(answer: Prediction) -> tuple[Any, ...]:
    """All that must be equal; NaN as text, which equals itself."""
    return (
        answer.index,
        answer.label,
        repr(answer.probability),
        answer.exit,
        answer.final,
        answer.degraded,
        answer.logits.tobytes(),
    )


def outcome(network: Network, call: Any) -> tuple[Any, int]:
    try:
        found = shown(call())
    except EdgemateError as error:
        found = str(error)
    return found, network.counts.non_finite


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=120, deadline=None)
@given(case=cases(), works=st.integers(0, 5), degrades=st.booleans())
@example(case=(LATE, Deadline(1e9, segment_ms=[0, 2e9, 0, 0], inner=Confidence(1.0)), None), works=5, degrades=False)
@example(case=(LATE, Deadline(1e9, segment_ms=[0, 0, 0, 0], inner=Patience(1)), None), works=2, degrades=True)
def test_the_answer_is_that_of_a_batch(
    small_bundle: Bundle, case: tuple[np.ndarray, Policy, Any], works: int, degrades: bool
) -> None:
    logits, policy, temperatures = case
    chosen = policy if temperatures is None else policy.with_temperatures(temperatures[:-1])
    found = []
    for _ in range(2):
        network = Opened(small_bundle, FailsAfter(logits.copy(), works), degrades, temperatures)
        found.append(network)
    batch, single = found
    expected, counted = outcome(batch, lambda: classify_batch(batch, IMAGE, chosen)[0])
    path = SinglePath(single, chosen)
    got, counted_too = outcome(single, lambda: path.answer(IMAGE))
    assert got == expected
    if isinstance(expected, tuple):  # what is counted of an image that fails is nobody's promise
        assert counted_too == counted


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=80, deadline=None)
@given(
    row=st.integers(1, 300).flatmap(
        lambda n: hnp.arrays(np.float32, n, elements=st.floats(-30, 30, width=32), fill=st.floats(-4, 4, width=32))
    )
)
def test_scores_of_a_row_are_bit_by_bit_those_of_a_batch(row: np.ndarray) -> None:
    for of_row, of_batch in (
        (scores.max_probability_of, scores.max_probability),
        (scores.entropy_of, scores.entropy),
        (scores.margin_of, scores.margin),
    ):
        value = of_row(row)
        assert value.dtype == np.float32
        assert value.tobytes() == of_batch(row[None])[0].tobytes(), of_batch.__name__


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@given(row=hnp.arrays(np.float32, st.integers(1, 20), elements=NUMBERS))
def test_a_row_is_finite_where_all_its_numbers_are(row: np.ndarray) -> None:
    assert scores.finite_of(row) == bool(np.isfinite(row).all())


@settings(max_examples=80)
@given(
    row=hnp.arrays(np.float32, st.sampled_from([2, 10, 100, 1000]), elements=st.floats(-8, 8, width=32)),
    steps=st.integers(-3, 3),
)
def test_the_fast_entropy_decides_as_the_exact_one_at_the_threshold_itself(row: np.ndarray, steps: int) -> None:
    threshold = scores.entropy(row[None])[0]
    for _ in range(abs(steps)):
        threshold = np.nextafter(threshold, np.float32(math.inf if steps > 0 else 0))
    policy = Entropy(float(threshold))
    decided = bool(single_of(policy, 2)().stop(1, row, 0.0))
    assert decided == bool(policy.begin(1, 2).stop(1, row[None], 0.0)[0])


def test_numbers_for_a_backend_are_those_of_the_policy() -> None:
    assert rule_of(Confidence(0.9), 3) == StopRule("confidence", (float(np.float32(0.9)),) * 2, (1.0, 1.0))
    rule = rule_of(Entropy([0.5, 1e300], temperature=[2, 0.5]), 3)
    assert rule == StopRule("entropy", (0.5, math.inf), (2.0, 0.5))
    assert rule_of(Margin(0.25), 2) == StopRule("margin", (0.25,), (1.0,))
    assert rule_of(FixedExit(2), 3) == StopRule("confidence", (1.0, 0.0), (1.0, 1.0))
    assert rule_of(Patience(2), 3) == StopRule("patience", (2.0, 2.0), (1.0, 1.0))
    for other in (Deadline(5.0), Collision(0.5), Reversed(0.5), Never(1)):
        assert rule_of(other, 3) is None


class Deciding(StoredBackend):
    """Answers by itself after so many seconds, or fails."""

    def __init__(self, logits: np.ndarray) -> None:
        super().__init__(logits)
        self.asked: list[StopRule] = []
        self.answered = 0
        self.fails = False
        self.seconds = 0.0

    def answering(self, rule: StopRule) -> Answering | None:
        self.asked.append(rule)

        def answer(image: np.ndarray) -> Answered:
            time.sleep(self.seconds)
            if self.fails:
                raise BackendError("the device fails")
            self.answered += 1
            passed_on = 0
            for exit, row in enumerate(self.logits[0], start=1):
                finite = bool(np.isfinite(row).all())
                if exit == len(self.logits[0]):
                    break
                if finite and scores.max_probability_of(row) > rule.thresholds[exit - 1]:
                    break
                passed_on += not finite
            return Answered(row.copy(), exit, passed_on)

        return answer if rule.kind == "confidence" else None


SURE, UNSURE, BROKEN = [9.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 2.0], [math.nan, 0.0, 0.0, 0.0]


def deciding(bundle: Bundle, *rows: list[float], on_failure: OnFailure = "raise") -> tuple[AnytimeClassifier, Deciding]:
    backend = Deciding(np.array([rows], np.float32))
    return AnytimeClassifier(bundle, backend, on_failure=on_failure), backend


def test_a_backend_may_answer_one_image_by_itself(small_bundle: Bundle) -> None:
    classifier, backend = deciding(small_bundle, BROKEN, SURE, UNSURE)
    policy = Confidence(0.9)
    for _ in range(3):
        [answer] = classifier.classify(IMAGE, policy)
        assert (answer.exit, answer.index, answer.degraded) == (2, 0, False)
    assert len(backend.asked) == 1, "it is asked once per policy"
    assert backend.answered == 3
    found = classifier.statistics()
    assert (found.answers, found.non_finite) == ((0, 3, 0), 3)
    [answer] = classifier.classify(IMAGE, Entropy(9.0))
    assert answer.exit == 2
    assert backend.answered == 3, "another score is the host's"
    assert classifier.classify(IMAGE)[0].exit == 3


def test_where_its_answer_is_none_an_earlier_exit_answers(small_bundle: Bundle) -> None:
    for on_failure, expected in (("raise", (3, None, False, 1)), ("degrade", (2, 3, True, 1))):
        classifier, _ = deciding(small_bundle, UNSURE, UNSURE, BROKEN, on_failure=on_failure)  # type: ignore[arg-type]
        [answer] = classifier.classify(IMAGE, Confidence(0.9))
        assert (answer.exit, answer.index, answer.degraded, classifier.non_finite) == expected
    for on_failure in ("raise", "degrade"):
        classifier, backend = deciding(small_bundle, UNSURE, SURE, UNSURE, on_failure=on_failure)  # type: ignore[arg-type]
        backend.fails = True
        if on_failure == "degrade":
            assert classifier.classify(IMAGE, Confidence(0.9))[0].exit == 2, "segment by segment it works"
        else:
            with pytest.raises(BackendError, match="the device fails"):
                classifier.classify(IMAGE, Confidence(0.9))


@pytest.mark.parametrize("broken", [True, False], ids=["no answer", "failure"])
def test_the_time_of_a_degraded_answer_includes_the_attempt_on_the_device(small_bundle: Bundle, broken: bool) -> None:
    classifier, backend = deciding(small_bundle, UNSURE, UNSURE, BROKEN, on_failure="degrade")
    backend.fails = not broken
    backend.seconds = 0.05
    [answer] = classifier.classify(IMAGE, Confidence(0.9))
    assert answer.degraded
    assert answer.milliseconds >= 50


def test_logits_of_an_answer_stay_what_they_are(opener: Any) -> None:
    with AnytimeClassifier(opener.bundle, opener()) as classifier:
        images = opener.bundle.golden().images
        answers = [classifier.classify(image, Confidence(0.9))[0] for image in images]
        together = classifier.classify(images, Confidence(0.9))
    for alone, expected in zip(answers, together, strict=True):
        np.testing.assert_allclose(alone.logits, expected.logits, rtol=1e-4, atol=1e-4)


def test_policies_may_be_made_anew_for_every_image(small_bundle: Bundle) -> None:
    classifier, _ = deciding(small_bundle, UNSURE, UNSURE, UNSURE)
    for number in range(100):  # a freed policy's id may be that of the next
        exit = number % 3 + 1
        assert classifier.classify(IMAGE, FixedExit(exit))[0].exit == exit


def test_ready_arrays_of_every_form_are_one_image(opener: Any) -> None:
    golden = opener.bundle.golden().images
    with AnytimeClassifier(opener.bundle, opener()) as classifier:
        expected = classifier.classify(golden[:1].copy(), "balanced")[0]
        strided = np.asfortranarray(golden[0])
        wide = np.repeat(golden[:1], 2, axis=3)[..., ::2]
        for image in (golden[0], golden[:1], strided, wide, [golden[0]], golden[:1].astype(">f4").astype(np.float32)):
            for _ in range(2):
                [answer] = classifier.classify(image, "balanced")
                assert answer.exit == expected.exit
                np.testing.assert_allclose(answer.logits, expected.logits, rtol=1e-5, atol=1e-5)


def test_threads_share_it_and_nothing_is_lost(opener: Any) -> None:
    golden = opener.bundle.golden().images
    policy = Confidence(0.9)
    with AnytimeClassifier(opener.bundle, opener()) as classifier:
        expected = [classifier.classify(image, policy)[0] for image in golden]
        classifier.reset_statistics()
        wrong: list[int] = []

        def work() -> None:
            for row, image in enumerate(golden):
                [answer] = classifier.classify(image, policy)
                if answer.exit != expected[row].exit or not np.allclose(
                    answer.logits, expected[row].logits, 1e-4, 1e-4
                ):
                    wrong.append(row)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert classifier.statistics().images == 4 * len(golden)


def test_streams_that_are_given_up_hold_nothing(opener: Any) -> None:
    golden = opener.bundle.golden().images
    with AnytimeClassifier(opener.bundle, opener()) as classifier:
        streams: list[Iterator[Prediction]] = [classifier.stream(golden[row]) for row in range(3)]
        firsts = [next(stream) for stream in streams]
        for row, first in enumerate(firsts):
            alone = next(classifier.stream(golden[row]))
            np.testing.assert_allclose(first.logits, alone.logits, rtol=1e-4, atol=1e-4)
        seconds = [next(stream) for stream in streams]
        assert [second.exit for second in seconds] == [2, 2, 2]
        del streams
        assert classifier.classify(golden[0])[0].exit == 3
