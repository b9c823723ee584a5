from __future__ import annotations

import pytest
import torch

from edgemate.config import Exits, Model
from edgemate.errors import UsageError
from edgemate.models import build_model
from edgemate.models.wide_resnet import WideBlock


@pytest.mark.parametrize(
    ("name", "parameters"),
    # In millions, from the paper's table 4 and its authors' code.
    [("wrn_16_4", 2.7), ("wrn_28_10", 36.5), ("wrn_40_2", 2.2)],
)
def test_sizes_are_the_published_ones(name: str, parameters: float) -> None:
    with torch.device("meta"):
        net = build_model(Model(backbone=name), Exits(at=["group3"]), 3, 10)
    assert sum(value.numel() for value in net.parameters()) / 1e6 == pytest.approx(parameters, abs=0.06)


def test_wrn_28_10_costs_what_is_reported() -> None:
    with torch.device("meta"):
        net = build_model(Model(backbone="wrn_28_10"), Exits(at=["group3"]), 3, 100)
        features = {"image": torch.zeros(1, 3, 32, 32)}
        macs = 0

        def count(module: torch.nn.Conv2d, given: object, out: torch.Tensor) -> None:
            nonlocal macs
            macs += module.weight.numel() * out[0, 0].numel()

        for module in net.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.register_forward_hook(count)
        net.eval().stages[0](features)
    assert macs == pytest.approx(5.24e9, rel=0.005)


@torch.no_grad()
def test_any_block_may_be_a_cut_and_groups_halve_the_map() -> None:
    model = Model(backbone="wide_resnet", options={"depth": 16, "width": 1, "dropout": 0.3})
    net = build_model(model, Exits(at=["group1.0", "group2", "group3.1"]), 1, 7).eval()
    features = {"image": torch.zeros(2, 1, 32, 32)}
    sizes = []
    for stage in net.stages:
        features = stage(features)
        sizes.append(tuple(features["features"].shape[1:]))
    assert sizes == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
    assert (features["features"] >= 0).all()  # the network's end is normalized and rectified
    assert net(torch.zeros(2, 1, 32, 32)).shape == (2, 3, 7)


@torch.no_grad()
def test_an_identity_shortcut_passes_the_raw_map_on() -> None:
    block = WideBlock(4, 4, 1, 0.0).eval()
    torch.nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(block(x.clone()), x)


def test_a_depth_that_is_none_of_the_family_names_the_closest() -> None:
    model = Model(backbone="wide_resnet", options={"depth": 27, "width": 1})
    with pytest.raises(UsageError, match="depth 27 is not 6n \\+ 4; 22 or 28 would be"):
        build_model(model, Exits(), 3, 10)
