"""Numbers on the page are those of the command line, in every digit."""

from __future__ import annotations

from importlib import resources
from typing import Any

import numpy as np
import pytest
from browser import missing

from edgemate.profiling.stop_costs import weighted_p99
from edgemate.wording import counted, engineering, milliseconds, percent

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

SIMULATE = (resources.files("edgemate.report") / "page" / "simulate.js").read_text(encoding="utf-8")
SCRIPT = (resources.files("edgemate.report") / "page" / "numbers.js").read_text(encoding="utf-8")


def in_browser(driver: Any, call: str, values: list[float]) -> list[str]:
    driver.get("about:blank")
    found: list[str] = driver.execute_script(f"{SCRIPT}\nreturn arguments[0].map((value) => {call});", values)
    return found


def spread(seed: int, low: float, high: float) -> list[float]:
    return np.exp(np.random.default_rng(seed).uniform(np.log(low), np.log(high), 300)).tolist()  # type: ignore[no-any-return]


def test_percentages(chromium: Any) -> None:
    # Every fraction of 800 images is among them: 721 of 800 are 90.125 %, a tie, which Python rounds to even.
    fractions = [right / images for images in (7, 800, 1000) for right in range(images + 1)]
    for digits in (1, 2):
        expected = [percent(fraction, digits) for fraction in fractions]
        assert in_browser(chromium, f"percent(value, {digits})", fractions) == expected
    assert percent(721 / 800, 2) == "90.12 %"


def test_times_and_costs(chromium: Any) -> None:
    times = [0.0, 0.0625, 0.125, 0.5, 1.0, 9.995, 12.25, 99.95, 100.5, 101.5, *spread(0, 1e-3, 1e4)]
    assert in_browser(chromium, "milliseconds(value)", times) == [milliseconds(value) for value in times]
    costs = [0, 1, 999, 999.5, 1000, 1005, 1015, 123_456_789, 1e9, 999_499, *spread(1, 1, 1e15)]
    assert in_browser(chromium, "engineering(value)", costs) == [engineering(value) for value in costs]


def test_counts(chromium: Any) -> None:
    counts = [0, 9, 999, 1000, 12_345, 1_234_567]
    expected = [counted(number, "image").removesuffix("s").removesuffix(" image") for number in counts]
    assert in_browser(chromium, "count(value)", counts) == expected


def test_shortened_thresholds_compare_alike(chromium: Any) -> None:
    thresholds = [0.0, 1.0, 0.9, 1 - 1e-7, *spread(2, 1e-6, 1)]
    for threshold, shown in zip(thresholds, in_browser(chromium, "shortest(value)", thresholds), strict=True):
        assert np.float32(float(shown)) == np.float32(threshold)
        assert len(shown.lstrip("0.")) <= len(repr(threshold).lstrip("0."))


def test_p99_is_that_of_the_profile_in_whatever_order_exits_cost(chromium: Any) -> None:
    random = np.random.default_rng(3)
    cases = []
    for _ in range(300):
        exits = int(random.integers(1, 9))
        counts = random.integers(0, random.choice([2, 50, 3000]), exits)
        counts[random.integers(exits)] += 1
        cases.append([random.exponential(5.0, exits).round(1).tolist(), counts.tolist()])
    chromium.get("about:blank")
    call = "arguments[0].map(([costs, counts]) => highOf(costs, counts, counts.reduce((sum, one) => sum + one)))"
    found = chromium.execute_script(f"{SIMULATE}\nreturn {call};", cases)
    assert found == [weighted_p99(*case) for case in cases]
    assert any(costs != sorted(costs) for costs, _ in cases)
