"""Random outputs of all exits, for tests of objectives."""

from __future__ import annotations

import math

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
    """A batch with these labels, for methods that do not look at the images."""
    return Batch(torch.zeros(len(labels), 1, 1, 1), labels)


def log3_logits(*steps: float, images: int = 1) -> Tensor:
    """Logits (images, K, 2), row k being (steps[k] · log 3, 0): −2, 0, 1, 2 give class 0 .1, .5, .75, .9."""
    logits = torch.tensor([[step * math.log(3), 0.0] for step in steps])
    return logits.expand(images, -1, -1).clone().requires_grad_()


def first_class(*, images: int = 1) -> Batch:
    """The batch to those logits: all images are of class 0."""
    return batch_of(torch.zeros(images, dtype=torch.int64))


def gradient_to_class_0(logits: Tensor, loss: Tensor) -> list[float]:
    """What `loss` makes flow to (steps[k] · log 3) of every exit, summed over images; class 1 gets its negative."""
    loss.backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad.sum(-1), torch.zeros_like(logits.grad.sum(-1)))
    return [float(share) for share in logits.grad[..., 0].sum(0)]
