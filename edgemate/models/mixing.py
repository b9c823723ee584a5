"""Mixing: exit k returns a weighted sum of the logits of exits 1 … k instead of its own logits alone.

The *raw logits* z_k of an exit are its head's, which training reads. Its *ensembled logits* are Σ_{j≤k} W_kj z_j, with
W a lower-triangular (K, K) matrix: an exit can only use what has been computed when it is reached.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgemate.errors import UsageError
from edgemate.wording import counted, needing


class Mixture(nn.Module):
    """Ensembled logits of one exit: raw logits of exits 1 … k, (N, k, C), to their weighted sum, (N, C); k · C MACs.

    Args:
        weights: row k of W as far as its diagonal, (k,).
    """

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights.detach().clone(), persistent=False)
        self.weights: Tensor

    def forward(self, raw_logits: Tensor) -> Tensor:
        """Raw logits (N, k, C) to ensembled logits (N, C)."""
        return mixture(raw_logits, self.weights)


def mixture(raw_logits: Tensor, weights: Tensor) -> Tensor:
    """Σ_j w_j z_j: (N, k, C), (k,) → (N, C).

    As products and a sum: a matrix product is what INT8 export and mixed precision would shorten.
    """
    return (raw_logits * weights.unsqueeze(1)).sum(1)


def mean_mixing(exits: int) -> Tensor:
    """W of the plain mean of the exits so far, W_kj = 1/k: (K, K)."""
    ones = torch.ones(exits, exits).tril()
    return ones / ones.sum(1, keepdim=True)


def softmax_mixing(scores: Tensor) -> Tensor:
    """W from scores, float (K, K): row k is the softmax over its first k scores, and 0 after them."""
    later = torch.ones_like(scores, dtype=torch.bool).triu(1)
    return F.softmax(scores.masked_fill(later, -torch.inf), -1)


def checked_mixing(weights: Tensor, exits: int) -> Tensor:
    """W as float32 without gradient. Raises UsageError where it is not lower-triangular (K, K)."""
    if tuple(weights.shape) != (exits, exits):
        given = " × ".join(map(str, weights.shape))
        raise UsageError(f"mixing: {needing(exits, 'exit')} {exits} × {counted(exits, 'weight')}, not {given}")
    if weights.triu(1).any():
        raise UsageError("mixing: an exit cannot use a later one; every weight above the diagonal must be 0")
    return weights.detach().float()
