"""`continuation`: copies of later blocks are those blocks, and thinning keeps the channels that matter."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgemate.config import Exits, Model
from edgemate.errors import UsageError
from edgemate.models import MultiExitModel, build_model
from edgemate.models.backbone import Tap
from edgemate.models.chains import Chain, Step, thinned_copy
from edgemate.models.graph.cutting import cut_network
from edgemate.models.heads.continuation import continuation

NETWORKS = ["torchvision/mobilenet_v2", "timm/tf_efficientnet_lite0", "timm/mobilenetv3_small_100"]


def built(backbone: str, **options: float) -> MultiExitModel:
    torch.manual_seed(0)
    exits = Exits(head="continuation", at="auto", count=3, options=options)
    return build_model(Model(backbone=backbone), exits, 3, 5, (64, 64))


def chain(middle: int = 32, *, depthwise: bool = True) -> Chain:
    """An inverted residual with normalization that is not the one it begins with."""
    torch.manual_seed(0)
    norms = [nn.BatchNorm2d(middle), nn.BatchNorm2d(middle), nn.BatchNorm2d(12)]
    for norm in norms:
        for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            assert tensor is not None
            tensor.uniform_(0.5, 1.5)
    groups = middle if depthwise else 1
    return Chain(
        (
            Step(nn.Conv2d(8, middle, 1, bias=False), norms[0], nn.ReLU6()),
            Step(nn.Conv2d(middle, middle, 3, 2, 1, groups=groups, bias=False), norms[1], nn.ReLU6()),
            Step(nn.Conv2d(middle, 12, 1, bias=False), norms[2]),
        )
    )


def run(given: Chain, image: torch.Tensor) -> torch.Tensor:
    for step in given.steps:
        image = step.convolution(image)
        if step.norm is not None:
            image = step.norm.eval()(image)
        if step.activation is not None:
            image = step.activation(image)
    return image


def image() -> torch.Tensor:
    return torch.randn(2, 8, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("depthwise", [True, False])
def test_a_whole_copy_computes_what_the_block_does_and_shares_nothing_with_it(depthwise: bool) -> None:
    given = chain(depthwise=depthwise)
    made = thinned_copy(given, 1.0, given.stride).eval()
    with torch.no_grad():
        expected = run(given, image())
        assert torch.equal(made(image()), expected)
        for parameter in made.parameters():
            parameter.fill_(0)
        assert torch.equal(run(given, image()), expected)


@pytest.mark.parametrize("width", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("depthwise", [True, False])
def test_channels_that_nothing_reads_are_the_first_to_go(width: float, depthwise: bool) -> None:
    given = chain(depthwise=depthwise)
    unread = torch.randperm(32, generator=torch.Generator().manual_seed(2))[: round(32 * (1 - width))]
    for step in given.steps[1:] if not depthwise else given.steps[2:]:
        step.convolution.weight.data[:, unread] = 0
    made = thinned_copy(given, width, given.stride).eval()
    with torch.no_grad():
        torch.testing.assert_close(made(image()), run(given, image()), rtol=1e-4, atol=1e-4)
    assert made[0].weight.shape[0] == round(32 * width)


def test_at_least_eight_channels_stay_and_never_more_than_there_are() -> None:
    assert thinned_copy(chain(32), 0.01, 1)[0].weight.shape[0] == 8
    assert thinned_copy(chain(4), 0.5, 1)[0].weight.shape[0] == 4


@pytest.mark.parametrize("backbone", NETWORKS)
def test_heads_have_the_networks_weights_and_its_final_size(backbone: str) -> None:
    model = built(backbone, width=1.0)
    stages = {tuple(one.shape): one for one in model.stages.parameters() if one.ndim == 4}
    heads = [one for one in model.heads[0].trunk.parameters() if one.ndim == 4]
    assert heads
    for weight in heads:
        assert any(torch.equal(weight, one) for one in model.stages.parameters() if one.shape == weight.shape)
    assert stages
    with torch.no_grad():
        maps = model.eval().outputs(torch.zeros(1, 3, 64, 64)).maps
        assert model.heads[0].trunk(maps[0]).shape[-1] == 64 // 32


@pytest.mark.parametrize("backbone", NETWORKS)
def test_a_thinner_head_is_cheaper_and_every_head_trains(backbone: str) -> None:
    sizes = [sum(one.numel() for one in built(backbone, width=width).heads[0].parameters()) for width in (0.25, 0.5, 1)]
    assert sizes == sorted(set(sizes))
    model = built(backbone)
    model.train()(torch.randn(2, 3, 64, 64)).sum().backward()
    assert all(one.grad is not None for one in model.heads.parameters())


def test_chains_are_inverted_residuals_that_change_the_shape_without_their_gates() -> None:
    import timm

    network = timm.create_model("mobilenetv3_small_100").eval()
    taps = cut_network(network, "mobilenetv3_small_100", (3, 64, 64)).taps
    found = [(one.in_channels, one.out_channels, one.stride) for one in taps["blocks.0"].later]
    assert found == [(16, 24, 2), (24, 40, 2), (40, 48, 1), (48, 96, 2)]
    assert taps["blocks.4"].later == ()


def test_chains_that_hold_cut_points_are_found_whole() -> None:
    import torchvision

    taps = cut_network(torchvision.models.mobilenet_v2().eval(), "mobilenet_v2", (3, 64, 64)).taps
    found = [(one.in_channels, one.out_channels, one.stride) for one in taps["features.4"].later]
    assert found == [(32, 64, 2), (64, 96, 1), (96, 160, 2), (160, 320, 1)]
    assert taps["features.7.conv.0"].later == taps["features.7"].later == tuple(taps["features.4"].later[1:])


def test_all_blocks_up_to_the_last_that_halves_are_copied_or_as_many_as_asked_for() -> None:
    given = tuple(Chain((Step(nn.Conv2d(8, 8, 1)), Step(nn.Conv2d(8, 8, 3, stride)))) for stride in (2, 1, 2, 1))
    for later, asked, copied in [(given, None, 3), (given[3:], None, 1), (given, 1, 1), (given, 9, 4)]:
        head = continuation(Tap(8, 8, sum(one.stride == 2 for one in later), later=later), 5, blocks=asked)
        assert len(head.trunk) == copied
        assert head({"features": torch.randn(2, 8, 16, 16)})[0].shape == (2, 5)


def test_where_the_network_ends_nothing_is_copied() -> None:
    head = continuation(Tap(16, 16, 0), 5)
    assert list(head.trunk) == []
    assert head({"features": torch.randn(2, 16, 4, 4)})[0].shape == (2, 5)


@pytest.mark.parametrize("backbone", ["resnet8", "torchvision/resnet18", "timm/vit_tiny_patch16_224"])
def test_networks_without_such_blocks_are_told_which_head_to_use(backbone: str) -> None:
    with pytest.raises(UsageError, match=r"chains of convolutions.*use inverted_residual"):
        build_model(Model(backbone=backbone), Exits(head="continuation", count=2), 3, 5, (224, 224))
