"""Random outputs of all exits, for tests of objectives."""

from __future__ import annotations

import torch
from torch import Tensor

from edgemate.distillation import Batch, Progress, Setting
from edgemate.models import ExitOutputs

N, K, C, D = 6, 3, 4, 5
SETTING = Setting(exits=K, classes=C, pooled_widths=(D,) * K)
START = Progress(epoch=0, epochs=10, fraction=0.0)


def make_outputs(seed: int = 0, requires_grad: bool = False) -> tuple[ExitOutputs, Tensor]:
    """Logits (N, K, C), pooled features K × (N, D), labels (N,)."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(N, K, C, generator=generator)
    pooled = tuple(torch.randn(N, D, generator=generator) for _ in range(K))
    labels = torch.randint(C, (N,), generator=generator)
    for tensor in (logits, *pooled):
        tensor.requires_grad_(requires_grad)
    return ExitOutputs(logits, pooled), labels


def batch_of(labels: Tensor) -> Batch:
    """A batch with these labels, for methods that do not look at the pictures."""
    return Batch(torch.zeros(len(labels), 1, 1, 1), labels)
