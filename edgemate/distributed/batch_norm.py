"""Batch normalization by the statistics of all processes' images."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgemate.distributed.reduce import ranks


def synchronize(module: nn.Module, device: torch.device) -> int:
    """Let batch normalization in a module use the statistics of all processes from now on.

    The modules are replaced by others with the same parameters, buffers and names: by torch's SyncBatchNorm, which
    computes on GPUs only, or on a CPU by `SynchronizedBatchNorm`. In evaluation mode nothing is exchanged.

    Args:
        module: the modules in it are replaced. It is not one itself.
        device: that it trains on.

    Returns:
        How many were replaced.
    """
    replaced = 0
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm) and not getattr(child, "synchronizes", False):
                parent._modules[name] = _synchronized(child, device)
                replaced += 1
    return replaced


class SynchronizedBatchNorm(_BatchNorm):
    """Batch normalization whose mean and variance, and their gradients, are those over all processes.

    Processes may have different numbers of images.
    """

    synchronizes = True

    def forward(self, input: Tensor) -> Tensor:
        """Normalized (N, C, ...) of the same shape and dtype."""
        if not self.training or ranks() == 1:
            return super().forward(input)
        track = self.track_running_stats and self.running_mean is not None and self.running_var is not None
        mean, variance, count = _Moments.apply(input)
        if track:
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            rate = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
            with torch.no_grad():
                unbiased = variance * (count / (count - 1).clamp(min=1))
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), rate)
                self.running_var.lerp_(unbiased.to(self.running_var.dtype), rate)
        shape = (1, -1, *[1] * (input.dim() - 2))
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        shift = -mean * scale
        if self.bias is not None:
            shift = shift + self.bias
        normalized: Tensor = (input.float() * scale.view(shape) + shift.view(shape)).to(input.dtype)
        return normalized

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected an input of 2 dimensions or more, got {input.dim()}")


class _Moments(torch.autograd.Function):
    """Mean, biased variance and number of values per channel over all processes: (N, C, ...) → (C,), (C,), ()."""

    @staticmethod
    def forward(ctx: Any, input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        values, axes = input.float(), [0, *range(2, input.dim())]
        channels = input.shape[1]
        # Two exchanges: a variance from sums of squares loses digits where the mean is large.
        sums = torch.cat([values.sum(axes), values.new_full((1,), input.numel() / channels)])
        dist.all_reduce(sums)
        count = sums[-1]
        mean = sums[:-1] / count
        centered = values - mean.view(1, -1, *[1] * (input.dim() - 2))
        squares = centered.square().sum(axes)
        dist.all_reduce(squares)
        ctx.save_for_backward(input, mean, count)
        ctx.mark_non_differentiable(count)
        return mean, squares / count, count

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:
        input, mean, count = ctx.saved_tensors
        # Of the sum of all processes' losses, which is what each of them contributes to.
        both = torch.stack([gradients[0], gradients[1]])
        dist.all_reduce(both)
        of_mean, of_variance = both
        shape = (1, -1, *[1] * (input.dim() - 2))
        centered = input.float() - mean.view(shape)
        gradient: Tensor = (of_mean.view(shape) + 2 * of_variance.view(shape) * centered) / count
        return gradient.to(input.dtype)


def _synchronized(norm: _BatchNorm, device: torch.device) -> nn.Module:
    if device.type == "cuda":
        made: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm)  # type: ignore[no-untyped-call]
        made.synchronizes = True  # type: ignore[assignment]
        return made
    made = SynchronizedBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    made._parameters, made._buffers = norm._parameters, norm._buffers
    made.training = norm.training
    return made
