"""Exits that add to the logits of the exits before them, as in BoostNet (Yu et al., AAAI 2023, arXiv 2211.16726)."""

from __future__ import annotations

import torch
from torch import Tensor


def boosted_logits(logits: Tensor, weight: float) -> Tensor:
    """G_k = z_k + sg(w · G_{k−1}), G_0 = 0: (N, K, C) → (N, K, C). A sum moves its own exit alone."""
    sums: list[Tensor] = []
    for own in logits.unbind(1):
        sums.append(own + weight * sums[-1].detach() if sums else own)
    return torch.stack(sums, 1)


def boosted_mixing(exits: int, weight: float) -> Tensor:
    """W of the same sums for deployment, W_kj = w^{k−j}: (K, K)."""
    depth = torch.arange(exits)
    return torch.tensor(weight) ** (depth[:, None] - depth).clamp(min=0) * (depth[:, None] >= depth)
