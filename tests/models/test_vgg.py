from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision

from edgemate.config import Exits, Model
from edgemate.errors import UsageError
from edgemate.models import build_model, count_costs


@torch.no_grad()
def test_uncut_its_features_are_torchvisions_own(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    plain = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["A"], batch_norm=True).eval()
    state = {f"features.{name}": value for name, value in plain.state_dict().items()}
    state["classifier.0.weight"] = torch.zeros(1)
    monkeypatch.setattr(torchvision.models.VGG11_BN_Weights, "get_state_dict", lambda self, **options: state)
    net = build_model(Model(backbone="vgg11_bn", options={"pretrained": True}), Exits(at=["pool5"]), 3, 7).eval()
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(net.stages[0]({"image": images})["features"], plain(images))


def test_vgg19_costs_what_is_reported_at_32_pixels() -> None:
    net = build_model(Model(backbone="vgg19_bn"), Exits(at=["pool5"]), 3, 100)
    (cost,) = count_costs(net, (3, 32, 32)).exits
    assert cost.macs == pytest.approx(399e6, rel=0.005)
    assert cost.parameters == pytest.approx(20.1e6, rel=0.01)


@torch.no_grad()
@pytest.mark.parametrize(("name", "convolutions"), [("vgg11_bn", 8), ("vgg13_bn", 10), ("vgg16_bn", 13)])
def test_exits_stand_after_the_last_four_poolings(name: str, convolutions: int) -> None:
    net = build_model(Model(backbone=name), Exits(), 1, 7).eval()
    assert net.cuts == ("pool2", "pool3", "pool4", "pool5")
    assert sum(isinstance(module, torch.nn.Conv2d) for module in net.stages.modules()) == convolutions
    features = {"image": torch.zeros(1, 1, 32, 32)}
    sizes = []
    for stage in net.stages:
        features = stage(features)
        sizes.append(tuple(features["features"].shape[1:]))
    assert sizes == [(128, 8, 8), (256, 4, 4), (512, 2, 2), (512, 1, 1)]
    assert [tap.reductions for tap in net.taps] == [3, 2, 1, 0]


@torch.no_grad()
def test_a_head_that_narrows_the_map_stands_at_every_cut() -> None:
    net = build_model(Model(backbone="vgg11_bn"), Exits(at=["pool1", "pool3", "pool5"], head="conv"), 3, 7).eval()
    assert net.pooled_widths == (512, 512, 512)
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 3, 7)


def test_pretrained_weights_need_three_channels_and_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(backbone="vgg11_bn", options={"pretrained": True})
    with pytest.raises(UsageError, match="pretrained weights are for 3 channels, not 1"):
        build_model(model, Exits(), 1, 7)

    def refuse(self: object, **options: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.models.VGG11_BN_Weights, "get_state_dict", refuse)
    with pytest.raises(UsageError, match="was unavailable"):
        build_model(model, Exits(), 3, 7)
