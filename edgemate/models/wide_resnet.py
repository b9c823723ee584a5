"""Wide ResNets (Zagoruyko, Komodakis 2016, arXiv 1605.07146): few blocks, many channels, for images of 32×32.

Cut points are the blocks, `group1.0`, `group1.1`, …; `group1` names the last block of that group. Blocks normalize
what they read ("pre-activation"), so what passes a cut is a plain sum; only the network's end is normalized.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from edgemate.errors import UsageError
from edgemate.models.backbone import Backbone, Block, Tap

IMAGE_SIZE = 32
"""Height and width of the images that these networks are for."""

Dropout = Annotated[float, Field(ge=0, lt=1)]


def wrn_16_4(in_channels: int, *, dropout: Dropout = 0.0) -> Backbone:
    """WRN-16-4: two blocks per group, 64, 128 and 256 channels."""
    return wide_resnet(in_channels, depth=16, width=4, dropout=dropout)


def wrn_28_10(in_channels: int, *, dropout: Dropout = 0.0) -> Backbone:
    """WRN-28-10: four blocks per group, 160, 320 and 640 channels; 5.2 G MACs at 32×32."""
    return wide_resnet(in_channels, depth=28, width=10, dropout=dropout)


def wrn_40_2(in_channels: int, *, dropout: Dropout = 0.0) -> Backbone:
    """WRN-40-2: six blocks per group, 32, 64 and 128 channels."""
    return wide_resnet(in_channels, depth=40, width=2, dropout=dropout)


def wide_resnet(
    in_channels: int,
    *,
    depth: Annotated[int, Field(ge=10, le=400)],
    width: Annotated[int, Field(ge=1, le=64)],
    dropout: Dropout = 0.0,
) -> Backbone:
    """WRN-depth-width.

    Args:
        in_channels: channels of the image.
        depth: convolutional layers, 6n + 4 for n blocks per group.
        width: factor on the channels 16, 32 and 64 of the three groups; the last two halve the map.
        dropout: fraction of the values between a block's convolutions that training drops; the paper's is 0.3 or none.

    Raises:
        UsageError: the depth is not 6n + 4.
    """
    blocks_per_group, rest = divmod(depth - 4, 6)
    if rest:
        raise UsageError(f"depth {depth} is not 6n + 4; {depth - rest} or {depth - rest + 6} would be")
    blocks: dict[str, nn.Module] = {}
    taps: dict[str, Tap] = {}
    aliases: dict[str, str] = {}
    final, before = 64 * width, 16
    for group in range(3):
        channels = (16 * width) << group
        for i in range(blocks_per_group):
            parts: list[nn.Module] = [WideBlock(before, channels, 2 if group and i == 0 else 1, dropout)]
            if not blocks:
                parts.insert(0, nn.Conv2d(in_channels, 16, 3, 1, 1, bias=False))
            if group == 2 and i == blocks_per_group - 1:
                parts += [nn.BatchNorm2d(final), nn.ReLU(inplace=True)]
            name = f"group{group + 1}.{i}"
            blocks[name] = Block(nn.Sequential(*parts))
            taps[name] = Tap(channels, final, 2 - group)
            aliases[f"group{group + 1}"] = name
            before = channels
    backbone = Backbone(blocks, taps, default_cuts=tuple(aliases), aliases=aliases)
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return backbone


class WideBlock(nn.Module):
    """Twice batch norm, ReLU and a 3×3 convolution, with dropout between; a 1×1 shortcut where the shape changes."""

    def __init__(self, in_channels: int, channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.dropout: nn.Module = nn.Dropout(dropout) if dropout else nn.Identity()
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module | None = None
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, H, W) → (N, channels, H / stride, W / stride)."""
        ready = self.relu(self.bn1(x))
        y = self.conv2(self.dropout(self.relu(self.bn2(self.conv1(ready)))))
        # A projection reads the normalized map, as in the authors' code; an identity passes the raw one on.
        out: Tensor = y + (x if self.shortcut is None else self.shortcut(ready))
        return out
