"""Residual networks for small images (He et al. 2016, section 4.2): three stages of n basic blocks, 6n + 2 layers.

Cut points are the blocks, `stage1.0`, `stage1.1`, …; `stage1` names the last block of that stage. Where the
paper pads a shortcut with zeros, a 1×1 convolution projects it here (the paper's option B): 0.26 M MACs at 32×32.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from edgemate.models.backbone import Backbone, Block, Tap

IMAGE_SIZE = 32
"""Height and width of the images that these networks are for."""

Width = Annotated[int, Field(ge=4, le=512)]


def resnet8(in_channels: int, *, width: Width = 16) -> Backbone:
    """ResNet-8, one block per stage: the network for CPU work. `width`: channels of the first stage."""
    return _resnet(in_channels, width, 1)


def resnet20(in_channels: int, *, width: Width = 16) -> Backbone:
    """ResNet-20, three blocks per stage: 41 M MACs at 32×32. `width`: channels of the first stage."""
    return _resnet(in_channels, width, 3)


def resnet32(in_channels: int, *, width: Width = 16) -> Backbone:
    """ResNet-32, five blocks per stage: 70 M MACs at 32×32. `width`: channels of the first stage."""
    return _resnet(in_channels, width, 5)


def resnet44(in_channels: int, *, width: Width = 16) -> Backbone:
    """ResNet-44, seven blocks per stage: 98 M MACs at 32×32. `width`: channels of the first stage."""
    return _resnet(in_channels, width, 7)


def resnet56(in_channels: int, *, width: Width = 16) -> Backbone:
    """ResNet-56, nine blocks per stage: 127 M MACs at 32×32. `width`: channels of the first stage."""
    return _resnet(in_channels, width, 9)


def resnet110(in_channels: int, *, width: Width = 16) -> Backbone:
    """ResNet-110, 18 blocks per stage: 255 M MACs at 32×32. `width`: channels of the first stage."""
    return _resnet(in_channels, width, 18)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut; a 1×1 projection where the shape changes."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, H, W) → (N, channels, H / stride, W / stride)."""
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out: Tensor = self.relu(y + self.shortcut(x))
        return out


def _resnet(in_channels: int, width: int, blocks_per_stage: int) -> Backbone:
    """Stages of `width`, 2 × width and 4 × width channels; the last two halve the map."""
    stem = nn.Sequential(
        nn.Conv2d(in_channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    )
    blocks: dict[str, nn.Module] = {}
    taps: dict[str, Tap] = {}
    aliases: dict[str, str] = {}
    before = width
    for stage in range(3):
        channels = width << stage
        for i in range(blocks_per_stage):
            block: nn.Module = BasicBlock(before, channels, 2 if stage and i == 0 else 1)
            if not blocks:
                block = nn.Sequential(stem, block)
            name = f"stage{stage + 1}.{i}"
            blocks[name] = Block(block)
            taps[name] = Tap(channels, 4 * width, 2 - stage)
            aliases[f"stage{stage + 1}"] = name
            before = channels
    backbone = Backbone(blocks, taps, default_cuts=tuple(aliases), aliases=aliases)
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return backbone
