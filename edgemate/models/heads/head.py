"""The head: a trunk over the features at a cut, a global average, and a linear classifier."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn

from edgemate.models.backbone import Features, Tap

Pool = Literal["mean", "class_token"]


class Head(nn.Module):
    """An exit's classifier.

    Features of every layout are read as a map (N, D, H, W): channels-last maps are transposed, and tokens are laid out
    as the grid of patches that they were, without the class token. Features without a height and width are the pooled
    ones already. Where no trunk follows, those of transformers (tokens, channels-last maps) are normalized after the
    pooling, as these networks do before their own classifier.

    Args:
        tap: which features it reads.
        trunk: layers between the map and the pooling; `nn.Identity()` for none.
        width: channels that the trunk gives, D.
        classes: C.
        dropout: fraction of the pooled feature that training drops.
        pool: `mean` over the map, or `class_token`, the first token of a tap that has one.
    """

    def __init__(
        self, tap: Tap, trunk: nn.Module, width: int, classes: int, dropout: float = 0.0, pool: Pool = "mean"
    ) -> None:
        super().__init__()
        self.layout, self.pool = tap.layout, pool
        self.class_tokens, self.grid = class_tokens(tap), grid(tap)
        self.trunk = trunk
        self.width = width
        normalized = tap.layout in ("tokens", "channels_last") and isinstance(trunk, nn.Identity)
        self.norm = nn.LayerNorm(width) if normalized else nn.Identity()
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.classifier = nn.Linear(width, classes)

    def forward(self, features: Features) -> tuple[Tensor, Tensor]:
        """Logits (N, C) and the pooled feature (N, D)."""
        pooled = self.norm(self._pooled(features["features"]))
        return self.classifier(self.dropout(pooled)), pooled

    def _pooled(self, features: Tensor) -> Tensor:
        if self.layout == "vector":
            return features
        if self.pool == "class_token":
            return features[:, 0]
        pooled: Tensor = self.trunk(self._map(features)).mean((2, 3))
        return pooled

    def _map(self, features: Tensor) -> Tensor:
        if self.layout == "channels_last":
            return features.permute(0, 3, 1, 2)
        if self.layout == "tokens":
            patches = features[:, self.class_tokens :].transpose(1, 2)
            return patches.reshape(-1, patches.shape[1], *self.grid)
        return features


def class_tokens(tap: Tap) -> int:
    """How many of a tap's tokens are not patches: what is left beside the grid."""
    if tap.layout != "tokens" or tap.shape is None:
        return 0
    height, width = grid(tap)
    return tap.shape[0] - height * width


def grid(tap: Tap) -> tuple[int, int]:
    """Height and width of the grid of patches; the largest square one where the tap does not know it."""
    if tap.grid is not None:
        return tap.grid
    side = math.isqrt(tap.shape[0]) if tap.shape else 1
    return side, side


def conv_bn_relu(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution without bias (padding keeps the size at stride 1), batch norm, ReLU."""
    convolution = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def widths(tap: Tap, final: int | None = None) -> list[int]:
    """Channels after each of the remaining halvings: geometric steps from the map's own to `final`.

    Those of the network's last map if `final` is absent.
    """
    ratio = (final or tap.final_channels) / tap.channels
    steps = tap.reductions
    return [round(tap.channels * ratio ** (i / steps)) for i in range(1, steps + 1)]
