import itertools

import pytest
import torch
from torch import nn

from edgemate.config import Exits, Model
from edgemate.models import MultiExitModel, Prefix, build_model, count_costs
from edgemate.models.activations import peak_activation_bytes


def resnet18(head: str) -> MultiExitModel:
    return build_model(Model(backbone="resnet18", options={"stem": "cifar"}), Exits(head=head), 3, 100)


def test_resnet18_with_conv_heads_costs_what_eeds_authors_report() -> None:
    costs = count_costs(resnet18("conv"), (3, 32, 32))
    published = [209e6, 325e6, 440e6, 556e6]
    assert [cost.macs for cost in costs.exits] == pytest.approx(published, rel=0.006)


def test_eeds_heads_cost_what_is_computed_by_hand() -> None:
    """ResNet-18 at 32×32 with 100 classes: 3×3 convolutions, two per block, two blocks per stage, 64 to 512 channels.

    A stage that halves the side has one convolution from fewer channels and a 1×1 shortcut. Head k has a strided 3×3
    convolution for each halving that remains, then a linear layer on 512 features.
    """
    widths, sides = (64, 128, 256, 512), (32, 16, 8, 4)
    stages = [32 * 32 * 9 * 3 * 64 + 4 * 32 * 32 * 9 * 64 * 64]
    halvings = []
    for (a, b), side in zip(itertools.pairwise(widths), sides[1:], strict=True):
        halvings.append(side * side * 9 * a * b)
        stages.append(halvings[-1] + side * side * a * b + 3 * side * side * 9 * b * b)
    by_hand = [sum(stages[:k]) + sum(halvings[k - 1 :]) + 512 * 100 for k in range(1, 5)]

    assert [round(macs / 1e6, 1) for macs in by_hand] == [209.4, 324.8, 440.1, 555.5]
    assert [cost.macs for cost in count_costs(resnet18("conv"), (3, 32, 32)).exits] == by_hand


def test_a_convolution_counts_one_mac_per_weight_and_place_and_a_batch_norm_none() -> None:
    net = build_model(Model(backbone="resnet8", options={"width": 4}), Exits(head="linear"), 1, 5)
    first = count_costs(net, (1, 8, 8)).exits[0]
    convolutions = 64 * (9 * 1 * 4 + 2 * 9 * 4 * 4)

    assert first.macs == convolutions + 4 * 5
    assert first.parameters == (9 * 4 + 8) + 2 * (9 * 16 + 8) + 4 * 5 + 5


@pytest.mark.parametrize("head", ["linear", "conv", "separable"])
def test_costs_grow_with_depth_and_chaining_adds_the_earlier_heads(head: str) -> None:
    net = build_model(Model(backbone="resnet8", options={"width": 4}), Exits(head=head), 1, 5)
    costs = count_costs(net, (1, 8, 8)).exits
    assert [cost.exit for cost in costs] == [1, 2, 3]
    assert costs[0].chained_macs == costs[0].macs
    assert costs[0].chained_parameters == costs[0].parameters
    for earlier, later in itertools.pairwise(costs):
        assert later.chained_macs > earlier.chained_macs
        assert later.chained_macs - later.macs > earlier.chained_macs - earlier.macs
    assert costs[-1].chained_parameters == sum(parameter.numel() for parameter in net.parameters())


def test_counting_names_what_it_leaves_out_and_leaves_the_model_as_it_was() -> None:
    net = build_model(Model(backbone="resnet8", options={"width": 4}), Exits(), 1, 5).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    costs = count_costs(net, (1, 8, 8))
    assert costs.skipped["aten::add"] == 3
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_activations_live_from_their_maker_to_their_last_reader() -> None:
    class Chain(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            doubled = torch.cat([x, x], 1)  # x and twice x alive: 3 units
            doubled.relu_()  # in place: nothing new
            return doubled.mean((1, 2, 3))

    image = torch.zeros(1, 2, 4, 4)
    assert peak_activation_bytes(Chain(), image) == 3 * image.numel() * 4


def test_a_shortcut_keeps_its_input_alive() -> None:
    class Shortcut(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + x.exp().exp()  # x, and two of the three others at a time

    image = torch.zeros(1, 1, 4, 4)
    assert peak_activation_bytes(Shortcut(), image) == 3 * image.numel() * 4


def test_the_image_counts_and_weights_do_not_whatever_they_are_called() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1000, 1))
            self.register_buffer("image", torch.ones(1000, 1))

        def forward(self, b_x: torch.Tensor) -> torch.Tensor:
            return b_x + b_x * self.weight[0] * self.image[0]  # the image and two others at a time

    image = torch.zeros(1, 1, 4, 4)
    assert peak_activation_bytes(Scaled(), image) == 3 * image.numel() * 4


def test_peak_memory_of_a_prefix_does_not_shrink_with_depth() -> None:
    net = build_model(Model(backbone="resnet8", options={"width": 4}), Exits(), 1, 5).eval()
    image = torch.zeros(1, 1, 8, 8)
    peaks = [peak_activation_bytes(Prefix(net, exit), image) for exit in (1, 2, 3)]
    assert peaks == sorted(peaks)
