"""The parts of MSDNet: the stem, which makes the first map of every scale, and the layer, which adds maps to each.

Maps travel under names of their own, `scale1` for the finest; the coarsest is `features`, which heads read.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgemate.models.backbone import Features
from edgemate.models.heads.head import conv_bn_relu


@dataclass(frozen=True)
class Scale:
    """One of the resolutions; each is half as high and wide as the one before.

    Attributes:
        name: of its map among the features.
        growth_factor: its channels are this many times the network's.
        bottleneck_factor: its 1×1 convolutions give at most this many times the channels of the 3×3 that follows.
            None: there are no 1×1 convolutions.
    """

    name: str
    growth_factor: int
    bottleneck_factor: int | None


class Stem(nn.Module):
    """The image, and by strided convolutions from one scale to the next the first map of each.

    Args:
        entry: from the image to the finest map.
        channels: of the first maps, at growth factor 1.
        scales: all scales, finest first.
        passed: how many of the scales later layers read, coarsest ones.
    """

    def __init__(self, entry: nn.Module, channels: int, scales: Sequence[Scale], passed: int) -> None:
        super().__init__()
        widths = [channels * scale.growth_factor for scale in scales]
        self.convolutions = nn.ModuleList(
            [entry, *(conv_bn_relu(finer, own, 3, stride=2) for finer, own in itertools.pairwise(widths))]
        )
        self.names = [scale.name for scale in scales]
        self.passed = passed

    def forward(self, features: Features) -> Features:
        """`image` → a map of each of the scales that later layers read."""
        maps: Features = {}
        tensor = features["image"]
        for name, convolution in zip(self.names, self.convolutions, strict=True):
            tensor = maps[name] = convolution(tensor)
        return {name: maps[name] for name in self.names[-self.passed :]}


class Layer(nn.Module):
    """New maps of every scale from its own map and the finer one, appended to its own.

    Args:
        channels: of the maps that it takes, at growth factor 1.
        growth: of the maps that it adds, at growth factor 1.
        scales: all scales, finest first.
        taken: how many of them it takes, coarsest ones.
        given: how many of them it gives, coarsest ones; at most one fewer than it takes.
        reduced: channels after the 1×1 convolution that ends the layer, at growth factor 1; None: there is none.
    """

    def __init__(
        self, channels: int, growth: int, scales: Sequence[Scale], taken: int, given: int, reduced: int | None
    ) -> None:
        super().__init__()
        first = len(scales) - given
        finer: list[Scale | None] = [scales[first - 1] if given < taken else None, *scales[first:-1]]
        self.names = [scale.name for scale in scales[first:]]
        self.finer_names = [scale.name if scale else None for scale in finer]
        self.scales = nn.ModuleList(
            _ScaleLayer(channels, growth, scale, below, reduced)
            for scale, below in zip(scales[first:], finer, strict=True)
        )

    def forward(self, features: Features) -> Features:
        """The maps of the scales that it gives, with more channels than before."""
        return {
            name: layer(features[name], None if finer is None else features[finer])
            for name, finer, layer in zip(self.names, self.finer_names, self.scales, strict=True)
        }


class _ScaleLayer(nn.Module):
    """One scale of a layer; half of the new channels come from the finer map if there is one."""

    def __init__(self, channels: int, growth: int, scale: Scale, finer: Scale | None, reduced: int | None) -> None:
        super().__init__()
        own, new = channels * scale.growth_factor, growth * scale.growth_factor
        self.strided: nn.Module | None = None
        if finer is None:
            self.regular = _convolutions(own, new, scale.bottleneck_factor, 1)
        else:
            below = channels * finer.growth_factor
            self.strided = _convolutions(below, new // 2, finer.bottleneck_factor, 2)
            self.regular = _convolutions(own, new // 2, scale.bottleneck_factor, 1)
        self.transition: nn.Module = nn.Identity()
        if reduced is not None:
            self.transition = conv_bn_relu(own + new, reduced * scale.growth_factor, 1)

    def forward(self, own: Tensor, finer: Tensor | None) -> Tensor:
        parts = [own, self.regular(own)]
        if self.strided is not None:
            parts.insert(1, self.strided(finer))
        found: Tensor = self.transition(torch.cat(parts, 1))
        return found


def _convolutions(in_channels: int, out_channels: int, bottleneck_factor: int | None, stride: int) -> nn.Sequential:
    """3×3, after a 1×1 that makes the map narrower if there is to be one."""
    if bottleneck_factor is None:
        return conv_bn_relu(in_channels, out_channels, 3, stride)
    inner = min(in_channels, bottleneck_factor * out_channels)
    return nn.Sequential(conv_bn_relu(in_channels, inner, 1), conv_bn_relu(inner, out_channels, 3, stride))
