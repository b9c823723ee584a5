"""The terms that objectives are made of. Logits are (N, K, C); what is averaged over the batch only is "batchmean"."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from edgemate.errors import UsageError


def cross_entropies(
    logits: Tensor, labels: Tensor, label_smoothing: float, class_weights: Tensor | None = None
) -> Tensor:
    """Hard-label cross-entropy of every column, batch mean: (N, K, C), (N,) → (K,).

    With `class_weights` (C,) an image counts as many times as its class weighs; the mean stays one over N.
    """
    n, k, c = logits.shape
    targets = labels.unsqueeze(1).expand(n, k).reshape(-1)
    losses = F.cross_entropy(logits.reshape(-1, c), targets, reduction="none", label_smoothing=label_smoothing)
    losses = losses.view(n, k)
    return losses.mean(0) if class_weights is None else (class_weights[labels].unsqueeze(1) * losses).mean(0)


def kl_to(target_logits: Tensor, logits: Tensor, temperature: float | Tensor) -> Tensor:
    """T² · KL(s_T(target) ‖ s_T(logits)), batch mean per column: (N, K or 1, C), (N, K, C) → (K,)."""
    target = F.log_softmax(target_logits / temperature, -1)
    given = F.log_softmax(logits / temperature, -1)
    return temperature**2 * (target.exp() * (target - given)).sum(-1).mean(0)


def soft_cross_entropy(target_logits: Tensor, logits: Tensor, temperature: float | Tensor) -> Tensor:
    """T² · CE(s_T(target), s_T(logits)), batch mean per column: (N, K or 1, C), (N, K, C) → (K,)."""
    target = F.softmax(target_logits / temperature, -1)
    given = F.log_softmax(logits / temperature, -1)
    return -(temperature**2) * (target * given).sum(-1).mean(0)


def kl_from_others(logits: Tensor, temperature: float) -> Tensor:
    """T² · Σ_{j≠k} KL(sg s_T(z_j) ‖ s_T(z_k)), batch mean per exit: (N, K, C) → (K,); 0 where K is 1.

    Summed over targets first, K terms instead of K²; j = k adds neither value nor gradient, so it may stay in.
    """
    given = F.log_softmax(logits / temperature, -1)
    targets = given.detach()
    fractions = targets.exp()
    negative_entropy = (fractions * targets).sum((-2, -1)).unsqueeze(1)
    return temperature**2 * (negative_entropy - (fractions.sum(1, keepdim=True) * given).sum(-1)).mean(0)


def masked_squares(feature: Tensor, target: Tensor) -> Tensor:
    """(f − target)² where f > 0 or target > 0, else 0: a feature that is rightly silent costs nothing. Same shape."""
    return (feature - target) ** 2 * ((feature > 0) | (target > 0))


def require_equal_widths(method: str, option: str, widths: Sequence[int]) -> None:
    """Feature terms compare pooled features of different exits. Raises UsageError where their widths differ."""
    if len(set(widths)) > 1:
        given = ", ".join(map(str, widths))
        raise UsageError(
            f"{method} compares the exits' features, but their widths are {given}: "
            "use a head that ends at one width (msdnet; where maps still shrink after the cut also conv, bottleneck or "
            f"separable), or set {option}: 0"
        )


def weighted(logits: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums over exits: (N, K, C), and (T, K) or of every image (N, T, K) → (N, T, C)."""
    return weights @ logits if weights.dim() == 3 else torch.einsum("tk,nkc->ntc", weights, logits)


def ramp(fraction: float, length: float) -> float:
    """exp(−5(1−x)²), the sigmoid-shaped rise of Laine, Aila (arXiv 1610.02242) from .007 to 1.

    x is how much of the first `length` of the training, a fraction, has passed; a length of 0 is over at once.
    """
    passed = min(1.0, fraction / length) if length else 1.0
    return math.exp(-5 * (1 - passed) ** 2)
