"""A head that sees the pooled features of all exits at once, for methods in which it teaches them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class FusionHead(nn.Module):
    """Features side by side → linear → normalization → ReLU → linear. Its gradients flow on into the features.

    Args:
        widths: per exit the width D_k of its pooled feature. The hidden layer is as wide as the last exit's.
        classes: C.
        norm: builds the normalization from a width, such as `nn.BatchNorm1d`.
    """

    def __init__(self, widths: Sequence[int], classes: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        width = widths[-1]
        self.layers = nn.Sequential(
            nn.Linear(sum(widths), width, bias=False), norm(width), nn.ReLU(), nn.Linear(width, classes)
        )

    def forward(self, pooled: Sequence[Tensor]) -> Tensor:
        """K × (N, D_k) → logits (N, 1, C)."""
        logits: Tensor = self.layers(torch.cat(list(pooled), 1))
        return logits.unsqueeze(1)
