from __future__ import annotations

import pytest
import torch

from edgemate.config import Exits, Model
from edgemate.models import build_model, count_costs


@pytest.mark.parametrize(
    ("name", "blocks", "parameters", "macs"),
    # Parameters from He et al. 2016, table 6 (in millions); MACs of the convolutions as usually reported.
    [("resnet20", 3, 0.27, 41e6), ("resnet56", 9, 0.85, 126e6)],
)
def test_size_and_cost_are_the_published_ones(name: str, blocks: int, parameters: float, macs: float) -> None:
    net = build_model(Model(backbone=name), Exits(at=["stage3"]), 3, 10)
    convolutions = [module for module in net.modules() if isinstance(module, torch.nn.Conv2d)]
    assert sum(module.kernel_size == (3, 3) for module in convolutions) + 1 == 6 * blocks + 2
    (cost,) = count_costs(net, (3, 32, 32)).exits
    assert cost.parameters / 1e6 == pytest.approx(parameters, rel=0.03)
    assert cost.macs == pytest.approx(macs, rel=0.02)


@pytest.mark.parametrize(("name", "depth"), [("resnet8", 8), ("resnet32", 32), ("resnet44", 44), ("resnet110", 110)])
def test_the_name_is_the_number_of_layers(name: str, depth: int) -> None:
    with torch.device("meta"):
        net = build_model(Model(backbone=name), Exits(), 3, 10)
    main = [m for m in net.stages.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(main) + 1 == depth
    assert net.cuts == ("stage1", "stage2", "stage3")


@torch.no_grad()
def test_any_block_may_be_a_cut_and_stages_halve_the_map() -> None:
    net = build_model(
        Model(backbone="resnet20", options={"width": 4}), Exits(at=["stage1.1", "stage2", "stage3.2"]), 1, 7
    ).eval()
    features = {"image": torch.zeros(2, 1, 32, 32)}
    sizes = []
    for stage in net.stages:
        features = stage(features)
        sizes.append(tuple(features["features"].shape[1:]))
    assert sizes == [(4, 32, 32), (8, 16, 16), (16, 8, 8)]
    assert net(torch.zeros(2, 1, 32, 32)).shape == (2, 3, 7)


def test_stages_end_at_the_same_width_with_a_head_that_widens() -> None:
    net = build_model(Model(backbone="resnet20", options={"width": 8}), Exits(head="bottleneck"), 3, 10)
    assert net.pooled_widths == (32, 32, 32)
