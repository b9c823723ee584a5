from __future__ import annotations

import time
from functools import partial

import numpy as np
import pytest
from told import Told

from edgemate import timing
from edgemate.timing import (
    Latency,
    SelfTimed,
    measure,
    measure_alternately,
    report_between_calls,
    time_blocks,
    time_in_turns,
    time_rounds,
    warm_up,
)


def test_the_summary_is_of_the_samples() -> None:
    found = Latency.of([float(n) for n in range(1, 101)])
    assert (found.p50, found.mean, found.repeats) == (50.5, 50.5, 100)
    assert found.p90 == pytest.approx(90.1)
    assert found.p99 == pytest.approx(99.01)


def test_a_call_takes_as_long_as_it_sleeps() -> None:
    found = measure(lambda: time.sleep(0.002), warmup=0, repeats=5)
    assert 2 <= found.p50 < 50


def test_calls_take_turns_and_warm_up_is_not_counted() -> None:
    order: list[str] = []
    found = measure_alternately({name: lambda name=name: order.append(name) for name in "ab"}, warmup=2, repeats=3)
    assert "".join(order) == "ababababab"
    assert {latency.repeats for latency in found.values()} == {3}


def test_a_turn_makes_all_calls_of_a_key_after_its_warm_up() -> None:
    made: list[str] = []
    calls = {"a": [partial(made.append, "a0"), partial(made.append, "a1")], "b": [partial(made.append, "b0")]}
    timed = [(call.key, call.index) for call in time_in_turns(calls, warmup=3)]
    assert made == ["a0", "a1", "a0", "a0", "a1", "b0", "b0", "b0", "b0"]
    assert timed == [("a", 0), ("a", 1), ("b", 0)]


def test_a_timed_call_is_yielded_with_its_result_and_its_own_time_alone() -> None:
    def pause(_: object) -> None:
        time.sleep(0.05)

    (timed,) = time_in_turns({"only": [lambda: 7]}, before=pause)
    assert timed.result == 7
    assert 0 <= timed.milliseconds < 25


def test_the_order_of_the_keys_is_drawn_anew_for_each_round() -> None:
    order: list[str] = []
    calls = {name: partial(order.append, name) for name in "abc"}
    found = time_rounds(lambda _: calls, warmup=0, repeats=20, random=np.random.default_rng(0))
    rounds = {"".join(order[i : i + 3]) for i in range(0, 60, 3)}
    assert len(rounds) > 3
    assert all(sorted(taken) == ["a", "b", "c"] for taken in rounds)
    assert {name: len(samples) for name, samples in found.items()} == {"a": 20, "b": 20, "c": 20}


def test_rounds_before_the_first_timed_one_have_negative_numbers() -> None:
    numbers: list[int] = []

    def calls(number: int) -> dict[str, partial[None]]:
        return {"call": partial(numbers.append, number)}

    assert len(time_rounds(calls, warmup=2, repeats=3)["call"]) == 3
    assert numbers == [-2, -1, 0, 1, 2]


def test_a_report_is_followed_by_a_call_that_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "REPORT_SECONDS", 0.0)  # always due
    made: list[str] = []
    found = list(
        time_in_turns(
            {"a": [partial(made.append, "call")]}, before=report_between_calls(partial(made.append, "report"))
        )
    )
    assert made == ["report", "call", "call"]
    assert len(found) == 1

    made.clear()
    told = Told()
    told.step("timing, round")
    calls = {name: partial(made.append, name) for name in "ab"}
    time_rounds(lambda _: calls, warmup=1, repeats=2, progress=told)
    assert "".join(made) == "abab" * 3
    assert told == ["timing, round", *(f"timing, round: {done} of 2" for done in (0, 0, 1))]


def test_nothing_is_reported_within_a_second() -> None:
    told = Told()
    measure_alternately({"call": lambda: None}, warmup=1, repeats=3, progress=told)
    assert told == []


class Slowing(SelfTimed):
    """Calls that take the times given, the last one for ever."""

    def __init__(self, *times: float) -> None:
        self.times = list(times)

    def __call__(self) -> float:
        return self.times.pop(0) if len(self.times) > 1 else self.times[0]


def test_a_call_that_measures_itself_has_the_time_that_it_says() -> None:
    (timed,) = time_in_turns({"only": [Slowing(1234.5)]})
    assert timed.milliseconds == 1234.5


def test_warm_up_ends_when_the_times_of_every_key_are_stable() -> None:
    calls = {"soon": Slowing(5.0), "late": Slowing(*(30.0 - n for n in range(20)), 10.0)}
    found = warm_up(calls, window=3, within=0.03)
    assert found.stable is True
    assert 20 < found.rounds <= 26  # both medians of three calls are from the stable part, or nearly so
    assert found.medians == {"soon": 5.0, "late": 10.0}


def test_warm_up_ends_at_the_limit_of_rounds_and_says_that_times_still_change() -> None:
    found = warm_up({"only": Slowing(*(2.0**n for n in range(40, 0, -1)))}, window=3, rounds=20)
    assert (found.rounds, found.stable) == (20, False)


def test_warm_up_ends_at_the_limit_of_time_before_stability_can_be_told() -> None:
    found = warm_up({"only": Slowing(1.0)}, window=3, seconds=0.0)
    assert (found.rounds, found.stable) == (1, None)


def test_blocks_of_all_keys_take_turns_and_have_all_repeats() -> None:
    made: list[str] = []
    calls = {name: partial(made.append, name) for name in "ab"}
    found = time_blocks(calls, repeats={"a": 7, "b": 2}, blocks=3)
    assert [len(block) for block in found["a"]] == [3, 2, 2]
    assert [len(block) for block in found["b"]] == [1, 1]
    warm = timing.BLOCK_WARMUP
    assert "".join(made) == "a" * (3 + warm) + "b" * (1 + warm) + "a" * (2 + warm) + "b" * (1 + warm) + "a" * (2 + warm)


def test_a_drift_falls_on_all_keys_alike() -> None:
    class Clock:
        now = 0.0

    class Drifting(SelfTimed):
        def __call__(self) -> float:
            Clock.now += 1.0
            return 10.0 + Clock.now

    found = time_blocks({"a": Drifting(), "b": Drifting()}, repeats=100, random=np.random.default_rng(0))
    means = [Latency.of_blocks(found[key]).mean for key in "ab"]
    assert abs(means[0] - means[1]) < 0.1 * min(means)  # one after the other they would differ threefold
