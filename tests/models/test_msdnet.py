from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgemate.config import Exits, Model
from edgemate.errors import UsageError
from edgemate.models import MultiExitModel, Prefix, Segment, build_model, count_costs

# Millions of MACs per exit with all earlier heads, and of parameters in all, as the authors' counter prints them
# (kalviny/MSDNet-PyTorch, op_counter.py and models/msdnet.py at f654595). It counts convolutions and linear layers,
# and once per value ReLU and average pooling, which are 0.2 to 1.3 % of the whole. The figures of ImageNet with step 7
# are printed in issue 10 of that repository too; those of 10 blocks are where the figure of BoostNet (arXiv
# 2211.16726) has its points for MSDNet: 25, 52, 74 and 122 M.
CIFAR, IMAGENET = {"size": 32, "classes": 100, "width": 128}, {"size": 224, "classes": 1000, "width": "own"}
PUBLISHED = {
    "anytime, 7 blocks": (
        ("msdnet_cifar_anytime", {}, CIFAR),
        [15.14, 25.51, 37.10, 46.33, 57.34, 66.96, 75.94],
        3.07,
    ),
    "anytime, 10 blocks": (
        ("msdnet_cifar_anytime", {"blocks": 10}, CIFAR),
        [15.14, 25.51, 37.79, 52.06, 62.18, 74.07, 87.73, 100.04, 110.12, 121.68],
        4.96,
    ),
    "anytime, 11 blocks, pruned late": (
        ("msdnet", {"blocks": 11, "base": 4, "step": 2, "prune": "min"}, CIFAR),
        [15.14, 25.51, 41.78, 50.87, 61.87, 74.79, 96.58, 106.95, 119.23, 133.43, 146.62],
        5.28,
    ),
    "budgeted, 5 blocks": (("msdnet_cifar_budgeted", {}, CIFAR), [6.86, 14.35, 27.54, 41.71, 58.48], 2.08),
    "budgeted, 7 blocks": (
        ("msdnet_cifar_budgeted", {"blocks": 7}, CIFAR),
        [6.86, 14.35, 27.29, 48.45, 76.43, 108.85, 137.28],
        3.97,
    ),
    "ImageNet, step 4": (("msdnet_imagenet", {}, IMAGENET), [339.90, 685.46, 1008.16, 1254.47, 1360.53], 23.96),
    "ImageNet, step 6": (
        ("msdnet_imagenet", {"step": 6}, IMAGENET),
        [514.66, 1171.18, 1844.52, 2501.40, 2742.06],
        56.53,
    ),
    "ImageNet, step 7": (
        ("msdnet_imagenet", {"step": 7}, IMAGENET),
        [615.69, 1436.39, 2283.21, 2967.42, 3253.79],
        62.31,
    ),
}
SMALL = {"channels": 4, "growth": 2, "blocks": 3, "base": 1, "step": 1}


def network(backbone: str, options: dict[str, Any], classes: int = 5, width: Any = 8) -> MultiExitModel:
    torch.manual_seed(0)
    head = Exits(head="msdnet", options={"width": width})
    return build_model(Model(backbone=backbone, options=options), head, 3, classes)


def chained_macs(net: MultiExitModel, size: int) -> list[int]:
    """Of convolutions and linear layers alone, after each exit with all heads so far."""
    macs = 0

    def count(module: nn.Module, given: object, out: torch.Tensor) -> None:
        nonlocal macs
        assert isinstance(module.weight, torch.Tensor)
        macs += module.weight.numel() * (out[0, 0].numel() if isinstance(module, nn.Conv2d) else 1)

    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    features = {"image": torch.zeros(1, 3, size, size)}
    found = []
    for stage, head in zip(net.stages, net.heads, strict=True):
        features = stage(features)
        head(features)
        found.append(macs)
    return found


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_exit_costs_what_is_published(name: str) -> None:
    (backbone, options, task), macs, parameters = PUBLISHED[name]
    with torch.device("meta"):
        net = network(backbone, options, task["classes"], task["width"]).eval()  # type: ignore[arg-type]
        found = [count / 1e6 for count in chained_macs(net, task["size"])]  # type: ignore[arg-type]
    assert found == pytest.approx(macs, rel=0.015)
    assert all(own < theirs for own, theirs in zip(found, macs, strict=True))  # they count ReLU and pooling too
    assert sum(value.numel() for value in net.parameters()) / 1e6 == pytest.approx(parameters, abs=0.005)


def test_chained_macs_count_the_finer_scales_and_those_of_a_prefix_only_what_its_exit_reads() -> None:
    _, macs, _ = PUBLISHED["budgeted, 5 blocks"]
    costs = count_costs(network("msdnet_cifar_budgeted", {}, 100, 128), (3, 32, 32)).exits
    assert [cost.chained_macs / 1e6 for cost in costs] == pytest.approx(macs, rel=0.03)
    # The prefix of exit 1 leaves out the new maps of the two finer scales, which only later layers read.
    assert costs[0].macs < 0.9 * costs[0].chained_macs


@torch.no_grad()
def test_the_finest_scale_is_dropped_in_each_part_of_the_network() -> None:
    net = network("msdnet_imagenet", {"step": 4}).eval()
    features = {"image": torch.zeros(1, 3, 64, 64)}
    scales = []
    for stage in net.stages:
        features = stage(features)
        scales.append({name: tensor.shape[-1] for name, tensor in features.items()})
    # Parts of five layers, of which exits cut four at a time.
    assert scales == [
        {"scale1": 16, "scale2": 8, "scale3": 4, "features": 2},
        {"scale2": 8, "scale3": 4, "features": 2},
        {"scale3": 4, "features": 2},
        {"features": 2},
        {"features": 2},
    ]


def test_cut_points_are_layers_and_blocks_name_those_of_the_usual_exits() -> None:
    usual = network("msdnet_cifar_budgeted", {})
    assert usual.cuts == ("block1", "block2", "block3", "block4", "block5")
    own = Exits(at=["layer2", "block3", "layer15"], head="msdnet")
    net = build_model(Model(backbone="msdnet_cifar_budgeted"), own, 3, 5)
    assert [len(stage.blocks) for stage in net.stages] == [2, 4, 9]  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="the last exit is at block4, but the backbone ends at block5"):
        build_model(Model(backbone="msdnet_cifar_budgeted"), Exits(at=["block4"]), 3, 5)


OPTIONS = st.fixed_dictionaries(
    {
        "blocks": st.integers(1, 4),
        "base": st.integers(1, 3),
        "step": st.integers(1, 2),
        "step_mode": st.sampled_from(["even", "lin_grow"]),
        "channels": st.integers(2, 4),
        "growth": st.sampled_from([2, 4]),
        "bottleneck": st.booleans(),
        "prune": st.sampled_from(["max", "min"]),
        "reduction": st.sampled_from([0.3, 0.5, 1.0]),
        "stem": st.sampled_from(["cifar", "imagenet"]),
    }
)


@settings(max_examples=25, deadline=None)
@given(OPTIONS, st.integers(1, 4))
def test_only_what_is_used_is_computed_and_passed(options: dict[str, Any], scales: int) -> None:
    factors = {"growth_factors": [1, 2, 2, 3][:scales], "bottleneck_factors": [1, 2, 1, 2][:scales]}
    net = network("msdnet", options | factors).train()
    features = {"image": torch.randn(4, 3, 16, 16)}
    passed, losses = [], []
    for stage, head in zip(net.stages, net.heads, strict=True):
        features = stage(features)
        passed.append(features)
        losses.append(head(features)[0].square().sum())
    assert list(passed[-1]) == ["features"]
    for exit, tensors in enumerate(passed[:-1], 1):
        later = torch.stack(losses[exit:]).sum()
        gradients = torch.autograd.grad(later, list(tensors.values()), retain_graph=True, allow_unused=True)
        unused = [name for name, gradient in zip(tensors, gradients, strict=True) if gradient is None]
        assert not unused, f"passed at exit {exit} and read by nothing"
    torch.stack(losses).sum().backward()
    assert not [name for name, value in net.named_parameters() if value.grad is None]


@torch.no_grad()
@settings(max_examples=10, deadline=None)
@given(OPTIONS)
def test_chained_segments_equal_the_prefix(options: dict[str, Any]) -> None:
    net = network("msdnet", options).eval()
    image = torch.randn(2, 3, 16, 16)
    features, whole = {"image": image}, net(image)
    for exit in range(1, net.exits + 1):
        features, logits = Segment(net, exit)(features)
        torch.testing.assert_close(logits, Prefix(net, exit)(image), rtol=0, atol=0)
        torch.testing.assert_close(logits, whole[:, exit - 1], rtol=0, atol=0)


@pytest.mark.parametrize("head", ["linear", "conv", "bottleneck", "separable"])
def test_other_heads_read_the_coarsest_map(head: str) -> None:
    net = build_model(Model(backbone="msdnet", options=SMALL), Exits(head=head), 3, 5)
    assert net.pooled_widths == tuple(tap.channels for tap in net.taps)
    assert net(torch.randn(2, 3, 16, 16)).shape == (2, 3, 5)


def test_its_classifier_ends_at_one_width_or_at_the_maps_own() -> None:
    assert network("msdnet", SMALL, width=8).pooled_widths == (8, 8, 8)
    net = network("msdnet", SMALL, width="own")
    assert net.pooled_widths == tuple(tap.channels for tap in net.taps)
    assert all(a.final_channels == b.final_channels for a, b in itertools.pairwise(net.taps))


def test_its_classifier_fits_other_backbones() -> None:
    model = Model(backbone="resnet8", options={"width": 4})
    net = build_model(model, Exits(head="msdnet", options={"width": 6}), 1, 5)
    assert net.pooled_widths == (6, 6, 6)
    assert net(torch.randn(2, 1, 8, 8)).shape == (2, 3, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"growth_factors": [1, 2]}, "2 growth_factors and 3 bottleneck_factors; there must be one of each per scale"),
        ({"growth": 3, "growth_factors": [1, 3, 4]}, "growth 3 × growth factor 3 is odd, .*; make one even"),
    ],
)
def test_options_that_do_not_fit_are_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        network("msdnet", SMALL | options)
    assert "\n" not in str(error.value)
