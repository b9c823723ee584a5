import pytest
import torch
from torch import nn

from edgemate.config import Exits, Model
from edgemate.errors import UsageError
from edgemate.models import Backbone, Features, Head, MultiExitModel, Prefix, Segment, Tap, build_model

RESNET8 = Model(backbone="resnet8", options={"width": 4})
HEADS = ["linear", "conv", "bottleneck", "separable"]


def model(head: str = "linear", at: list[str] | None = None, backbone: Model = RESNET8) -> MultiExitModel:
    torch.manual_seed(0)
    return build_model(backbone, Exits(head=head, at=at), channels=1, classes=5).eval()


@pytest.mark.parametrize("head", HEADS)
def test_forward_gives_every_exits_logits_and_outputs_the_pooled_features_too(head: str) -> None:
    net = model(head)
    images = torch.randn(3, 1, 8, 8)
    outputs = net.outputs(images)
    assert net(images).shape == (3, 3, 5)
    assert torch.equal(outputs.logits, net(images))
    assert tuple(feature.shape[1] for feature in outputs.pooled) == net.pooled_widths


@pytest.mark.parametrize("head", HEADS)
@torch.no_grad()
def test_prefixes_and_chained_segments_say_what_the_whole_model_says(head: str) -> None:
    net = model(head)
    images = torch.randn(2, 1, 8, 8)
    whole = net(images)
    features: Features = {"image": images}
    for exit in range(1, net.exits + 1):
        features, logits = Segment(net, exit)(features)
        assert torch.equal(logits, whole[:, exit - 1])
        assert torch.equal(Prefix(net, exit)(images), whole[:, exit - 1])


@pytest.mark.parametrize("head", ["conv", "bottleneck", "separable"])
def test_heads_with_a_trunk_end_at_the_final_width(head: str) -> None:
    assert set(model(head).pooled_widths) == {16}


def test_linear_heads_keep_each_exits_own_width() -> None:
    assert model("linear").pooled_widths == (4, 8, 16)


def test_the_deepest_exit_needs_no_trunk() -> None:
    for head in HEADS:
        last = model(head).heads[-1]
        assert sum(parameter.numel() for parameter in last.parameters()) == 16 * 5 + 5


def test_cut_points_can_be_named_and_leave_out_an_exit() -> None:
    net = model(at=["stage2", "stage3"])
    assert net.exits == 2
    assert net.cuts == ("stage2", "stage3")


@pytest.mark.parametrize(
    ("at", "message"),
    [
        (["stage1", "stage4"], "unknown cut point 'stage4'; did you mean"),
        (["stage2", "stage1", "stage3"], "not in the order of the backbone"),
        (["stage1", "stage2"], "the last exit is at stage2, but the backbone ends at stage3"),
    ],
)
def test_cut_points_that_do_not_fit_are_refused(at: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model(at=at)


def test_a_resnet_can_be_cut_after_any_block() -> None:
    resnet = Model(backbone="resnet18", options={"stem": "cifar"})
    net = model(at=["layer1.0", "layer2", "layer3.0", "layer4"], backbone=resnet)
    assert net(torch.randn(2, 1, 32, 32)).shape == (2, 4, 5)


class TwoMaps(nn.Module):
    """Makes a fine and a coarse map from whatever maps it gets."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fine = nn.Conv2d(channels, 4, 3, padding=1)
        self.coarse = nn.Conv2d(channels, 8, 3, stride=2, padding=1)

    def forward(self, features: Features) -> Features:
        first = features.get("fine", features.get("image"))
        assert first is not None
        coarse = self.coarse(first)
        return {
            "fine": self.fine(first),
            "features": coarse + features["features"] if "features" in features else coarse,
        }


@torch.no_grad()
def test_several_named_maps_can_pass_a_cut() -> None:
    taps = {name: Tap(8, 8, 0) for name in ("one", "two")}
    backbone = Backbone({"one": TwoMaps(1), "two": TwoMaps(4)}, taps, ("one", "two"))
    net = MultiExitModel(backbone, None, lambda tap: Head(tap, nn.Identity(), tap.channels, 3))
    images = torch.randn(2, 1, 8, 8)
    features, _ = Segment(net, 1)({"image": images})
    assert sorted(features) == ["features", "fine"]
    assert torch.equal(Segment(net, 2)(features)[1], net(images)[:, 1])
