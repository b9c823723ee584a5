"""`resnet8`: a small residual network for CPU work, three stages of one basic block (He et al. 2016, 4.2, n = 1)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from edgemate.models.backbone import Backbone, Block, Tap


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


def resnet8(in_channels: int, *, width: Annotated[int, Field(ge=4, le=512)] = 16) -> Backbone:
    """Stages `stage1`, `stage2`, `stage3` of `width`, 2 × width and 4 × width channels; the last two halve the map.

    Args:
        in_channels: channels of the picture.
        width: channels of the first stage.
    """
    channels = (width, 2 * width, 4 * width)
    stem = nn.Sequential(
        nn.Conv2d(in_channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    )
    blocks = {
        "stage1": Block(nn.Sequential(stem, BasicBlock(width, channels[0], 1))),
        "stage2": Block(BasicBlock(channels[0], channels[1], 2)),
        "stage3": Block(BasicBlock(channels[1], channels[2], 2)),
    }
    taps = {name: Tap(channels[i], channels[-1], 2 - i) for i, name in enumerate(blocks)}
    backbone = Backbone(blocks, taps, default_cuts=tuple(blocks))
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return backbone
