from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgemate.errors import UsageError
from edgemate.models import Backbone, Tap
from edgemate.models.backbone import Block
from edgemate.models.cost import block_macs
from edgemate.models.placing import place_exits

SHAPE = (3, 8, 8)


def backbone(widths: list[int]) -> Backbone:
    steps = [3, *widths]
    blocks = {f"b{i}": Block(nn.Conv2d(a, b, 1, bias=False)) for i, (a, b) in enumerate(itertools.pairwise(steps))}
    taps = {f"b{i}": Tap(width, widths[-1], 0, "map", (width, 8, 8)) for i, width in enumerate(widths)}
    return Backbone(blocks, taps, None)


@settings(max_examples=20, deadline=None)
@given(widths=st.lists(st.integers(1, 12), min_size=2, max_size=8), data=st.data())
def test_exits_are_in_order_end_with_the_backbone_and_are_near_equal_steps(
    widths: list[int], data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, len(widths)))
    whole = backbone(widths)
    at = place_exits(whole, SHAPE, count)
    assert len(at) == len(set(at)) == count
    assert at[-1] == whole.end
    places = [whole.block_names.index(name) for name in at]
    assert places == sorted(places)
    so_far = list(itertools.accumulate(block_macs(whole, SHAPE)))
    for k, place in enumerate(places[:-1], start=1):
        target = so_far[-1] * k / count
        free = range(places[k - 2] + 1 if k > 1 else 0, len(widths) - (count - k))
        assert abs(so_far[place] - target) == min(abs(so_far[i] - target) for i in free)


def test_more_exits_than_cut_points_is_one_line() -> None:
    with pytest.raises(UsageError, match=r"exits\.count is 4, but the backbone has 2 cut points"):
        place_exits(backbone([4, 4]), SHAPE, 4)


def test_block_macs_are_those_of_the_convolutions_and_change_nothing() -> None:
    whole = backbone([4, 6]).train()
    before = [parameter.clone() for parameter in whole.parameters()]
    assert block_macs(whole, SHAPE) == [64 * 3 * 4, 64 * 4 * 6]
    assert whole.training
    assert all(torch.equal(a, b) for a, b in zip(before, whole.parameters(), strict=True))
