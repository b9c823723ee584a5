from __future__ import annotations

import math

import numpy as np
import pytest

from edgemate.core.agreement import compare_logits

REFERENCE = np.array([[4.0, 1.0], [0.5, 2.0], [0.0, 1.0], [3.0, -8.0]], np.float32)


def test_equal_logits_agree() -> None:
    found = compare_logits(REFERENCE, REFERENCE, 0.01)
    assert (found.largest_difference, found.differing, found.not_finite, found.images) == (0.0, 0, 0, 4)
    assert found.agreement == 1.0


def test_the_limit_is_relative_to_the_largest_logit_and_at_least_the_tolerance() -> None:
    assert compare_logits(REFERENCE, REFERENCE, 0.01).limit == pytest.approx(0.08)
    assert compare_logits(REFERENCE / 100, REFERENCE / 100, 0.01).limit == pytest.approx(0.01)


def test_differences_and_classes_are_counted() -> None:
    logits = REFERENCE.copy()
    logits[2] = [1.5, 1.0]  # the other class
    logits[3, 1] = -9.0
    found = compare_logits(logits, REFERENCE, 0.01)
    assert found.largest_difference == pytest.approx(1.5)
    assert (found.differing, found.agreement) == (1, 0.75)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_images_that_are_not_finite_are_counted(value: float) -> None:
    logits = REFERENCE.copy()
    logits[1] = value
    found = compare_logits(logits, REFERENCE, 0.01)
    assert found.not_finite == 1
    assert not found.largest_difference <= found.limit


@pytest.mark.parametrize("shape", [(3, 2), (4, 3), (0, 2), (4,)])
def test_arrays_that_do_not_belong_together_are_refused(shape: tuple[int, ...]) -> None:
    reference = REFERENCE if shape != (0, 2) else np.zeros(shape)
    with pytest.raises(ValueError, match="are needed, not"):
        compare_logits(np.zeros(shape), reference, 0.01)
