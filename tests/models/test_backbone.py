from __future__ import annotations

import pytest

from edgemate.errors import UsageError
from edgemate.models.backbone import Tap, with_layout


def test_a_layout_can_be_named_where_the_shape_does_not_tell() -> None:
    tap = Tap(8, 16, 1, "map", (8, 8, 8))
    assert with_layout(tap, "map") is tap
    assert with_layout(tap, "channels_last") == Tap(8, 16, 1, "channels_last", (8, 8, 8))
    assert with_layout(Tap(4, 16, 1, "map", (4, 8, 6)), "channels_last").channels == 6


def test_a_vector_stays_one_and_other_dimensions_are_refused() -> None:
    vector = Tap(16, 16, 0, "vector", (16,))
    assert with_layout(vector, "tokens") is vector
    with pytest.raises(UsageError, match=r"exits\.layout is tokens, but the features of this backbone are a map"):
        with_layout(Tap(8, 16, 1), "tokens")
    with pytest.raises(UsageError, match=r"exits\.layout is tokens, but features of shape \(N, 8, 8, 4\)"):
        with_layout(Tap(8, 16, 1, "map", (8, 8, 4)), "tokens")
