"""A temperature that grows with the confidence of the logits it softens (Phuong, Lampert; ICCV 2019)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from edgemate.distributed.reduce import mean_over_ranks


@torch.no_grad()
def grow_(temperature: Tensor, logits: Tensor, *, growth: float, threshold: float, limit: float) -> None:
    """Multiply T by `growth`, in place, where the mean of max_c s_T(z)_c is above `threshold`.

    Decided on the device: nothing waits for the answer. Every process decides alike.

    Args:
        temperature: T, float32 ().
        logits: z of this batch, (N, K, C); the mean is over images and columns.
        growth: factor on T.
        threshold: mean confidence, at the T of this batch, above which T grows.
        limit: T never passes this. Ours: with two classes no T takes the mean below 1/2, and T would grow forever.
    """
    confidence = F.softmax(logits / temperature, -1).amax(-1).mean()
    confidence = mean_over_ranks(confidence, len(logits))
    grown = (temperature * growth).clamp(max=limit)
    temperature.copy_(torch.where(confidence > threshold, grown, temperature))
