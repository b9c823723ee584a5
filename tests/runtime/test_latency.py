from __future__ import annotations

import time

import pytest

from edgemate.runtime import Latency, measure, measure_alternately


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
