from __future__ import annotations

import math

import numpy as np
import pytest

from edgemate.monitoring import accuracy_gap


def test_the_standard_error_is_that_of_two_samples() -> None:
    found = accuracy_gap(0.93, 6000, 0.92, 10_000)
    assert found.gap == pytest.approx(-0.01)
    assert found.standard_error == pytest.approx(math.sqrt(0.93 * 0.07 / 6000 + 0.92 * 0.08 / 10_000))
    assert (found.notable, found.beyond_chance) == (True, True)
    few = accuracy_gap(0.93, 60, 0.92, 100)
    assert (few.notable, few.beyond_chance) == (True, False)
    many = accuracy_gap(0.93, 10**6, 0.928, 10**6)
    assert (many.notable, many.beyond_chance) == (False, True)


def test_one_gap_in_twenty_is_beyond_two_standard_errors_by_chance() -> None:
    random = np.random.default_rng(0)
    pairs = zip(random.binomial(2000, 0.9, 2000) / 2000, random.binomial(3000, 0.9, 2000) / 3000, strict=True)
    beyond = np.mean([accuracy_gap(p, 2000, q, 3000).beyond_chance for p, q in pairs])
    assert 0.03 < beyond < 0.065


def test_without_a_number_of_images_chance_is_not_judged() -> None:
    found = accuracy_gap(0.9, None, 0.5, 100)
    assert (found.standard_error, found.notable, found.beyond_chance) == (None, True, False)
    assert not accuracy_gap(1.0, 10, 1.0, 10).beyond_chance
