"""Domain-adversarial training (Ganin et al., JMLR 17, 2016, arXiv 1505.07818).

A discriminator learns to classify the domain of a feature. The gradient that reaches the feature is reversed, so the
network learns features that do not depend on the domain.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from edgemate.distillation.gradients import rescale_gradient


class DomainDiscriminator(nn.Module):
    """A perceptron from a pooled feature to one number, positive for the source and negative for the target.

    Args:
        width: D of the feature.
        hidden: width of its one hidden layer.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, feature: Tensor, is_source: bool, strength: float) -> Tensor:
        """Mean binary cross-entropy of classifying the domain of `feature` (N, D): a scalar.

        The discriminator gets its gradient as it is; the feature gets it reversed, times `strength`. With a strength of
        0 the feature gets none.
        """
        given = rescale_gradient(feature, -strength) if strength else feature.detach()
        logit: Tensor = self.layers(given).squeeze(1)
        return F.softplus(-logit if is_source else logit).mean()


def reversal_strength(fraction: float) -> float:
    """2 / (1 + e^{−10p}) − 1 at the fraction p of the training: from 0 to almost 1."""
    return 2 / (1 + math.exp(-10 * fraction)) - 1
