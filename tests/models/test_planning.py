from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from told import Told
from two_tensors import two_tensor_model

from edgemate.config import Exits, Model
from edgemate.errors import UsageError
from edgemate.models import build_model, count_costs
from edgemate.models.backbone import Backbone
from edgemate.models.plan_result import PlannedCut
from edgemate.models.plan_warnings import plan_warnings
from edgemate.models.planning import plan_network


@pytest.mark.parametrize(
    ("network", "head"),
    [
        ("resnet20", "bottleneck"),
        ("mobilenet_v2", "separable"),
        ("torchvision/mobilenet_v3_small", "separable"),
        ("torchvision/swin_t", "linear"),
        ("timm/ghostnet_050", "conv"),
    ],
)
def test_a_plan_counts_what_the_built_model_costs(network: str, head: str) -> None:
    if network.startswith("timm/"):
        pytest.importorskip("timm")
    model, exits = Model(backbone=network), Exits(at="auto", count=3, head=head)
    plan = plan_network(model, exits, channels=3, classes=7, size=(64, 64))
    built = build_model(model, exits, 3, 7, (64, 64))
    assert [cut.name for cut in plan.exits] == list(built.cuts)
    costs = count_costs(built, (3, 64, 64)).exits
    assert [cut.macs + (cut.head_macs or 0) for cut in plan.exits] == [cost.macs for cost in costs]
    heads = [sum(parameter.numel() for parameter in head.parameters()) for head in built.heads]
    parameters = [cost.parameters for cost in costs]
    assert [cut.parameters + own for cut, own in zip(plan.exits, heads, strict=True)] == parameters
    assert (plan.macs, plan.parameters) == (costs[-1].macs, costs[-1].parameters)


def test_macs_and_parameters_are_the_published_ones() -> None:
    for network in ("resnet18", "torchvision/resnet18"):
        plan = plan_network(Model(backbone=network), Exits(head="linear"))
        assert (plan.image, plan.classes) == ((3, 224, 224), 1000)
        assert plan.macs == pytest.approx(1.814e9, rel=0.01)
        whole = torchvision.models.resnet18()
        assert plan.parameters == sum(parameter.numel() for parameter in whole.parameters())


def test_costs_only_grow_along_the_network() -> None:
    told = Told()
    plan = plan_network(Model(backbone="torchvision/densenet121"), Exits(at="auto"), size=(64, 64), progress=told)
    assert told == ["building torchvision/densenet121", "counting MACs"]
    for earlier, later in itertools.pairwise(plan.cuts):
        assert earlier.macs <= later.macs
        assert earlier.parameters <= later.parameters
        assert earlier.macs_fraction <= later.macs_fraction <= 1
    assert [cut.exit for cut in plan.exits] == [1, 2, 3, 4]
    assert plan.cuts[-1].own_classifier
    assert plan.cuts[-1].head_macs == 1024 * 1000


def test_all_tensors_that_cross_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = two_tensor_model().stages
    blocks = {"fork": stages[0], "deepen": stages[1], "join": stages[2]}
    taps = dict(zip(blocks, two_tensor_model().taps, strict=True))
    backbone = Backbone(blocks, taps, tuple(blocks))
    monkeypatch.setattr("edgemate.models.planning.build_backbone", lambda *_: backbone)
    plan = plan_network(Model(backbone="resnet8"), Exits(), channels=1, classes=3, size=(8, 8))
    features = {"image": torch.zeros(1, 1, 8, 8)}
    for cut, block in zip(plan.cuts, blocks.values(), strict=True):
        features = block(features)
        assert cut.tensors == len(features)
        assert cut.bytes == 4 * sum(tensor.numel() for tensor in features.values())
        assert cut.shape == tuple(features["features"].shape[1:])
    assert plan.cuts[0].tensors == 2


def test_the_usual_cuts_of_a_family_and_named_ones_are_marked() -> None:
    plan = plan_network(Model(backbone="resnet8"), Exits(), classes=10)
    assert plan.image == (3, 32, 32)
    assert [cut.name for cut in plan.exits] == ["stage1.0", "stage2.0", "stage3.0"]
    exits = Exits(at=["stage1", "stage2"], final="new")
    assert [cut.aliases for cut in plan_network(Model(backbone="resnet8"), exits).exits] == [("stage1",), ("stage2",)]


def test_weights_are_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", fetch)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fetch)
    for model in (
        Model(backbone="torchvision/mobilenet_v3_small", weights="pretrained"),
        Model(backbone="resnet18", options={"pretrained": True}),
    ):
        assert plan_network(model, Exits(at="auto"), size=(64, 64)).macs


@pytest.mark.parametrize(
    ("model", "exits", "said"),
    [
        (Model(backbone="resnet8"), Exits(at=["stage9", "stage3"]), "unknown cut point 'stage9'; did you mean"),
        (Model(backbone="resnet8"), Exits(at=["stage2", "stage1"]), "are not in the order of the backbone"),
        (Model(backbone="resnet8"), Exits(at=["stage1", "stage2"]), "but the backbone ends at stage3"),
        (Model(backbone="resnet8"), Exits(at="auto", count=4), "exits.count is 4, but the backbone has 3 cut points"),
        (Model(backbone="resnet8"), Exits(final="own"), "comes without a classifier"),
        (
            Model(backbone="resnet8"),
            Exits(head="linear", options={"pool": "class_token"}),
            "no exit can stand at stage1.0: the features at this cut have no class token",
        ),
        (Model(backbone="vgg11_bn"), Exits(), "vgg11_bn cannot take images of 8×8 with 3 channels"),
        (Model(backbone="torchvision/vgg11"), Exits(), "torchvision/vgg11 cannot take images of 8×8"),
        (Model(backbone="torchvision/resnet17"), Exits(), "torchvision has no network 'resnet17'; did you mean"),
    ],
)
def test_what_cannot_be_planned_is_said(model: Model, exits: Exits, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        plan_network(model, exits, size=(8, 8))


def test_a_cut_without_a_head_is_in_the_plan() -> None:
    exits = Exits(at="auto", head="linear", options={"pool": "class_token"})
    plan = plan_network(Model(backbone="torchvision/vit_b_16"), exits, size=(32, 32))
    without = [cut for cut in plan.cuts if cut.head_macs is None]
    assert without
    assert all("no class token" in (cut.head_problem or "") for cut in without)
    assert {cut.layout for cut in plan.exits} <= {"tokens", "vector"}


@pytest.mark.parametrize("network", ["timm/tf_efficientnet_lite0", "torchvision/efficientnet_b0"])
def test_a_last_map_of_2x2_is_warned_of(network: str) -> None:
    if network.startswith("timm/"):
        pytest.importorskip("timm")
    model, exits = Model(backbone=network), Exits(at="auto", head="linear")
    [warning] = plan_network(model, exits, size=(64, 64)).warnings
    assert f"a last feature map of 2×2, and {network} is meant for 224×224" in warning
    assert "(4×4); end there (exits: {at: [" in warning
    assert "], final: new}), or set an image size of 128 or more" in warning
    assert plan_network(model, exits, size=(128, 128)).warnings == ()


def test_the_advice_of_the_warning_can_be_followed() -> None:
    import yaml

    model = Model(backbone="torchvision/mobilenet_v3_small")
    [warning] = plan_network(model, Exits(at="auto", head="linear"), size=(48, 48)).warnings
    advised = yaml.safe_load(warning.partition("exits: ")[2].partition("})")[0] + "}")
    shorter = plan_network(model, Exits(**advised, head="linear"), size=(48, 48))
    assert [cut.name for cut in shorter.exits] == advised["at"]
    assert build_model(model, Exits(**advised, head="linear"), 3, 10, (48, 48)).cuts == tuple(advised["at"])


def test_a_small_network_on_small_images_is_not_warned_of() -> None:
    assert plan_network(Model(backbone="resnet20"), Exits(head="linear"), size=(32, 32)).warnings == ()


def cut(name: str, macs: int, head_macs: int, exit: int | None, own: bool = False) -> PlannedCut:
    return PlannedCut(
        name=name,
        aliases=(),
        macs=macs,
        macs_fraction=0.5,
        parameters=1,
        layout="map",
        shape=(8, 8, 8),
        tensors=1,
        bytes=2048,
        head_macs=head_macs,
        exit=exit,
        own_classifier=own,
    )


def test_a_head_that_costs_more_than_its_stage_is_warned_of() -> None:
    cuts = [
        cut("a", 2_000_000, 3_000_000, None),
        cut("b", 4_000_000, 3_000_000, 1),
        cut("c", 6_000_000, 2_500_000, 2),
        cut("d", 6_500_000, 1_000_000, 3, own=True),
    ]
    [warning] = plan_warnings("net", "separable", cuts, (32, 32), (32, 32))
    assert warning == (
        "exit 2 at c: its separable head has 2.5 M MACs, more than the stage before it (2 M); place it at another cut, "
        "or use the head linear"
    )


NOT_TRACEABLE = """
from torch import nn

class Sign(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x
"""


def test_a_network_that_cannot_be_traced_names_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sign_network.py").write_text(NOT_TRACEABLE)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"sign_network:Sign cannot be traced at sign_network.py:6 `return x if"):
        plan_network(Model(backbone="sign_network:Sign"), Exits(at="auto"))
