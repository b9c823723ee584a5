"""MSDNet (Huang et al., ICLR 2018, arXiv 1703.09844): maps of several scales side by side, densely connected.

Heads read the coarsest map, which is there from the first layer on, so an early exit need not be a fine, narrow one.
What passes a cut is one tensor per scale that later layers read: `scale1` (the finest), `scale2`, …, and `features`,
the coarsest. Cut points are the layers, `layer1`, `layer2`, …; `block1` names the layer of the first usual exit, and so
on. The network's own classifier is the head `msdnet`.

Configurations as in the paper and in the authors' code (gaohuang/MSDNet in Lua, kalviny/MSDNet-PyTorch). Where these
differ, the docstrings say so. Ours alone: a map that no later layer and no exit reads is not computed at all. In the
published configurations there is none.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from edgemate.errors import UsageError
from edgemate.models.backbone import Backbone, Tap
from edgemate.models.heads.head import conv_bn_relu
from edgemate.models.msdnet_layers import Layer, Scale, Stem

Count = Annotated[int, Field(ge=1, le=256)]
Factors = Annotated[list[Annotated[int, Field(ge=1, le=64)]], Field(min_length=1, max_length=8)]
_FACTORS = [1, 2, 4]
IMAGE_SIZE = {"msdnet_cifar_anytime": 32, "msdnet_cifar_budgeted": 32}
"""Height and width of the images that a network is usually given, px, where it is not 224."""


def msdnet_cifar_anytime(in_channels: int, *, blocks: Count = 7) -> Backbone:
    """For 32×32, an exit every second layer from the fourth on.

    The paper has 11 exits (24 layers), the authors' Lua code 10, their PyTorch code 7.

    Args:
        in_channels: channels of the image.
        blocks: how many exits there usually are.
    """
    return msdnet(in_channels, blocks=blocks, base=4, step=2)


def msdnet_cifar_budgeted(in_channels: int, *, blocks: Count = 5) -> Backbone:
    """For 32×32, exits after 1, 3, 6, 10, 15, … layers, for a budget that is spent on a whole batch.

    The paper has 4 to 8 exits (10 to 36 layers), the authors' Lua code 7, their PyTorch code 5.

    Args:
        in_channels: channels of the image.
        blocks: how many exits there usually are.
    """
    return msdnet(in_channels, blocks=blocks, base=1, step=1, step_mode="lin_grow")


def msdnet_imagenet(in_channels: int, *, step: Count = 4, base: Count | None = None) -> Backbone:
    """For 224×224, four scales and five exits; published with steps 4, 6 and 7.

    Width and `base` are those of the authors' PyTorch code; their Lua code starts with 64 channels.

    Args:
        in_channels: channels of the image.
        step: layers between two exits.
        base: layers before the first exit; as many as `step` if absent. The paper says step + 3.
    """
    return msdnet(
        in_channels,
        blocks=5,
        base=base or step,
        step=step,
        channels=32,
        growth=16,
        growth_factors=[1, 2, 4, 4],
        bottleneck_factors=[1, 2, 4, 4],
        stem="imagenet",
    )


def msdnet(
    in_channels: int,
    *,
    blocks: Count,
    base: Count,
    step: Count,
    step_mode: Literal["even", "lin_grow"] = "even",
    channels: Count = 16,
    growth: Count = 6,
    growth_factors: Factors = _FACTORS,
    bottleneck: bool = True,
    bottleneck_factors: Factors = _FACTORS,
    prune: Literal["max", "min"] = "max",
    reduction: Annotated[float, Field(gt=0, le=1)] = 0.5,
    stem: Literal["cifar", "imagenet"] = "cifar",
) -> Backbone:
    """MSDNet of any size.

    Args:
        in_channels: channels of the image.
        blocks: how many exits there usually are.
        base: layers before the first of them.
        step: layers between two of them.
        step_mode: `even`, always `step`; `lin_grow`, `step` more each time: step·i + 1 after exit i.
        channels: of the finest of the first maps.
        growth: channels that a layer adds to the finest map.
        growth_factors: per scale, finest first, how many times these two numbers it has; as many as there are scales.
        bottleneck: put a 1×1 convolution before every 3×3.
        bottleneck_factors: per scale, finest first, how many times the channels of a 3×3 the 1×1 before it gives. For a
            strided convolution it is that of the finer scale, which it reads.
        prune: when the finer scales are dropped; `max`: one after each of as many parts of the network as there are
            scales; `min`: as late as exits allow, which read only the coarsest.
        reduction: factor on the channels of all scales by a 1×1 convolution, under `max` where a scale is dropped,
            under `min` after one and two thirds of the layers; 1: there is no such convolution.
        stem: `cifar`, a 3×3 convolution; `imagenet`, 7×7 and a maximum over 3×3, each of stride 2.

    Raises:
        UsageError: the two lists of factors differ in length, or half of a scale's new channels is not a whole number.
    """
    if len(growth_factors) != len(bottleneck_factors):
        given = f"{len(growth_factors)} growth_factors and {len(bottleneck_factors)} bottleneck_factors"
        raise UsageError(f"msdnet: {given}; there must be one of each per scale")
    for factor in growth_factors[1:]:
        if growth * factor % 2:
            odd = f"growth {growth} × growth factor {factor} is odd"
            raise UsageError(f"msdnet: {odd}, and half of these channels come from the finer scale; make one even")
    factors = enumerate(zip(growth_factors, bottleneck_factors, strict=True), 1)
    scales = [Scale(f"scale{number}", wide, narrow if bottleneck else None) for number, (wide, narrow) in factors]
    scales[-1] = Scale("features", scales[-1].growth_factor, scales[-1].bottleneck_factor)

    ends = [base]
    for i in range(1, blocks):
        ends.append(ends[-1] + (step if step_mode == "even" else step * i + 1))
    layers = ends[-1]
    rule = [_scales_left(number, layers, len(scales), prune) for number in range(layers + 1)]
    # What an exit at the end can still be reached by: itself, and one finer scale per layer before it.
    kept = [min(left, layers - number + 1) for number, left in enumerate(rule)]
    thirds = (layers // 3, 2 * layers // 3)

    parts: dict[str, nn.Module] = {}
    widths = {}
    entry = _entry(stem, in_channels, channels * growth_factors[0])
    first = Stem(entry, channels, scales, kept[0])
    for number in range(1, layers + 1):
        name, wider = f"layer{number}", channels + growth
        narrows = rule[number] < rule[number - 1] if prune == "max" else number in thirds
        reduced = max(1, int(reduction * wider)) if narrows and reduction < 1 else None
        layer = Layer(channels, growth, scales, kept[number - 1], kept[number], reduced)
        parts[name] = nn.Sequential(first, layer) if number == 1 else layer
        channels = reduced or wider
        widths[name] = channels * growth_factors[-1]
    taps = {name: Tap(width, widths[f"layer{layers}"], 0) for name, width in widths.items()}
    aliases = {f"block{i}": f"layer{end}" for i, end in enumerate(ends, 1)}
    backbone = Backbone(parts, taps, default_cuts=tuple(aliases), aliases=aliases)
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return backbone


def _scales_left(number: int, layers: int, scales: int, prune: str) -> int:
    """How many scales the layer of that number gives, the stem's being 0, if nothing but `prune` decides."""
    if prune == "min":
        return min(scales, layers - number + 1)
    return scales - max(0, number - 1) // math.ceil(layers / scales)


def _entry(stem: str, in_channels: int, channels: int) -> nn.Sequential:
    """From the image to the first map of the finest scale."""
    if stem == "cifar":
        return conv_bn_relu(in_channels, channels, 3)
    return nn.Sequential(conv_bn_relu(in_channels, channels, 7, stride=2), nn.MaxPool2d(3, 2, 1))
