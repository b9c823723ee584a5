from __future__ import annotations

import pytest
import torch
import torchvision

from edgemate.config import Exits, Model
from edgemate.errors import UsageError
from edgemate.models import build_model, count_costs


@torch.no_grad()
@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"])
def test_uncut_its_features_are_torchvisions_own(name: str) -> None:
    torch.manual_seed(0)
    plain = getattr(torchvision.models, name)().eval().features
    last = f"features.{len(plain) - 1}"
    net = build_model(Model(backbone=name), Exits(at=[last]), 3, 7).eval()
    # The same weights in the same order, whatever they are called.
    ours, theirs = net.stages.state_dict(), plain.state_dict()
    assert [value.shape for value in ours.values()] == [value.shape for value in theirs.values()]
    net.stages.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(net.stages[0]({"image": images})["features"], plain(images))


@torch.no_grad()
@pytest.mark.parametrize("head", ["linear", "separable"])
def test_exits_stand_before_the_map_is_halved(head: str) -> None:
    net = build_model(Model(backbone="mobilenet_v3_small"), Exits(head=head), 3, 7).eval()
    assert net.cuts == ("features.1", "features.3", "features.8", "features.12")
    features = {"image": torch.zeros(1, 3, 64, 64)}
    sizes = []
    for stage in net.stages:
        features = stage(features)
        sizes.append(tuple(features["features"].shape[1:]))
    assert sizes == [(16, 16, 16), (24, 8, 8), (48, 4, 4), (576, 2, 2)]
    assert net(torch.zeros(2, 3, 64, 64)).shape == (2, 4, 7)


@torch.no_grad()
def test_v2s_cifar_stem_leaves_two_halvings_out() -> None:
    net = build_model(Model(backbone="mobilenet_v2", options={"stem": "cifar"}), Exits(), 3, 7).eval()
    assert net.cuts == ("features.3", "features.6", "features.13", "features.18")
    features = {"image": torch.zeros(1, 3, 32, 32)}
    sizes = []
    for stage in net.stages:
        features = stage(features)
        sizes.append(tuple(features["features"].shape[1:]))
    assert sizes == [(24, 32, 32), (32, 16, 16), (96, 8, 8), (1280, 4, 4)]
    assert [tap.reductions for tap in net.taps] == [3, 2, 1, 0]


def test_v2_costs_what_its_authors_report() -> None:
    net = build_model(Model(backbone="mobilenet_v2"), Exits(), 3, 1000)
    assert net.cuts == ("features.1", "features.3", "features.6", "features.13", "features.18")
    cost = count_costs(net, (3, 224, 224)).exits[-1]
    assert 300e6 < cost.macs < 320e6
    assert cost.parameters == pytest.approx(3.5e6, rel=0.01)


def test_any_block_may_be_a_cut_and_gray_images_will_do() -> None:
    net = build_model(Model(backbone="mobilenet_v3_large"), Exits(at=["features.5", "features.16"]), 1, 7).eval()
    assert net(torch.zeros(2, 1, 32, 32)).shape == (2, 2, 7)


def test_pretrained_weights_need_three_channels_and_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(backbone="mobilenet_v3_small", options={"pretrained": True})
    with pytest.raises(UsageError, match="pretrained weights are for 3 channels, not 1"):
        build_model(model, Exits(), 1, 7)

    def refuse(self: object, *args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.models.MobileNet_V3_Small_Weights, "get_state_dict", refuse)
    with pytest.raises(UsageError, match="was unavailable"):
        build_model(model, Exits(), 3, 7)
