from __future__ import annotations

from typing import get_args

import pytest

from edgemate.bundle.manifest import Precision
from edgemate.exporting import Limits


@pytest.mark.parametrize("precision", get_args(Precision))
def test_a_tolerance_moves_all_limits_alike(precision: Precision) -> None:
    usual = Limits.of(precision)
    assert Limits.of(precision, usual.difference) == usual
    moved = Limits.of(precision, 2 * usual.difference)
    assert moved.difference == 2 * usual.difference
    assert 1 - moved.agreement == pytest.approx(2 * (1 - usual.agreement))
    assert moved.accuracy_loss == 2 * usual.accuracy_loss
    assert Limits.of(precision, 1e9).agreement == 0


def test_lower_precision_is_given_more_room() -> None:
    fp32, fp16, int8 = (Limits.of(precision) for precision in ("fp32", "fp16", "int8"))
    assert fp32.difference < fp16.difference < int8.difference
    assert fp32.agreement >= fp16.agreement > int8.agreement
