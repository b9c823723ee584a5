"""The head: a trunk over the feature map, a global average, and a linear classifier."""

from __future__ import annotations

from torch import Tensor, nn

from edgemate.models.backbone import Features, Tap


class Head(nn.Module):
    """An exit's classifier.

    Args:
        tap: which feature map it reads.
        trunk: layers between that map and the pooling; `nn.Identity()` for none.
        width: channels that the trunk gives, D.
        classes: C.
        dropout: fraction of the pooled feature that training drops.
    """

    def __init__(self, tap: Tap, trunk: nn.Module, width: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.trunk = trunk
        self.width = width
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.classifier = nn.Linear(width, classes)

    def forward(self, features: Features) -> tuple[Tensor, Tensor]:
        """Logits (N, C) and the pooled feature (N, D)."""
        pooled = self.trunk(features["features"]).mean((2, 3))
        return self.classifier(self.dropout(pooled)), pooled


def conv_bn_relu(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution without bias (padding keeps the size at stride 1), batch norm, ReLU."""
    convolution = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def widths(tap: Tap) -> list[int]:
    """Channels after each of the remaining halvings: geometric steps from the map's own to the final ones."""
    ratio = tap.final_channels / tap.channels
    steps = tap.reductions
    return [round(tap.channels * ratio ** (i / steps)) for i in range(1, steps + 1)]
