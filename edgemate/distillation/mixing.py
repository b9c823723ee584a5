"""The weights with which what is deployed answers: what the recipe asks for and the method has."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from edgemate.distillation.method import Method
from edgemate.models import mean_mixing


def mixing_of(method: Method) -> Tensor | None:
    """W, lower-triangular (K, K), as the method has it now; None: every exit answers for itself."""
    setting = method.setting
    return mean_mixing(setting.exits) if setting.ensemble == "mean" else method.mixing()


def up_to_own_exit(scores: Tensor) -> Tensor:
    """Softmax over row k's first k scores, 0 behind them: (K, K) → (K, K)."""
    later = torch.ones_like(scores, dtype=torch.bool).triu(1)
    return F.softmax(scores.masked_fill(later, -torch.inf), -1)
