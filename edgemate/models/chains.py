"""Chains of convolutions: the inverted residuals, bottlenecks and the like of a network, and thinned copies of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

_MULTIPLE = 8


@dataclass(frozen=True)
class Step:
    """A convolution and what follows it, from the network itself.

    Attributes:
        convolution: with one group, or depthwise.
        norm: the batch normalization after it, if any.
        activation: after that, if any.
    """

    convolution: nn.Conv2d
    norm: _BatchNorm | None = None
    activation: nn.Module | None = None

    @property
    def depthwise(self) -> bool:
        """Whether every channel is convolved by itself."""
        convolution = self.convolution
        return convolution.groups > 1 and convolution.in_channels == convolution.groups == convolution.out_channels


@dataclass(frozen=True)
class Chain:
    """Convolutions one after the other, without a shortcut beside them."""

    steps: tuple[Step, ...]

    @property
    def in_channels(self) -> int:
        """Channels of the map that it takes."""
        return self.steps[0].convolution.in_channels

    @property
    def out_channels(self) -> int:
        """Channels of the map that it gives."""
        return self.steps[-1].convolution.out_channels

    @property
    def stride(self) -> int:
        """The factor by which it shrinks height and width."""
        factor = 1
        for step in self.steps:
            factor *= step.convolution.stride[0]
        return factor


def thinned_copy(chain: Chain, width: float, stride: int) -> nn.Sequential:
    """A copy of a chain that keeps the most important ones of its inner channels, with their weights.

    The importance of a channel is the norm of the weights that read it in the next convolution that mixes channels,
    times the absolute scale of its normalization: about how much it adds to the output (our reconstruction, after the
    scale criterion of Liu et al., "Network Slimming", arXiv 1708.06519, and the norm of Li et al., arXiv 1608.08710).

    Args:
        chain: its weights are not changed.
        width: fraction of the inner channels that is kept, rounded to a multiple of 8; 1 for all.
        stride: of the copy, whatever the chain's own is. The largest kernel takes it.
    """
    kept = _kept_channels(chain, width)
    kernels = [step.convolution.kernel_size[0] for step in chain.steps]
    strided = kernels.index(max(kernels))
    layers: list[nn.Module] = []
    for i, step in enumerate(chain.steps):
        layers.append(_convolution(step, kept[i], kept[i + 1], stride if i == strided else 1))
        if step.norm is not None:
            layers.append(_norm(step.norm, kept[i + 1]))
        if step.activation is not None:
            layers.append(copy.deepcopy(step.activation))
    return nn.Sequential(*layers)


def _kept_channels(chain: Chain, width: float) -> list[Tensor]:
    """Per boundary between convolutions, from input to output, the channels that stay, int64, ascending."""
    steps = chain.steps
    group = [0]
    for step in steps:  # a depthwise convolution has the same channels on both sides
        group.append(group[-1] if step.depthwise else group[-1] + 1)
    sizes = [chain.in_channels, *(step.convolution.out_channels for step in steps)]
    kept: list[Tensor] = []
    for i, size in enumerate(sizes):
        if i and group[i] == group[i - 1]:
            kept.append(kept[-1])
        elif group[i] in (group[0], group[-1]):
            kept.append(torch.arange(size, device="cpu"))
        else:
            count = min(size, max(_MULTIPLE, int(size * width / _MULTIPLE + 0.5) * _MULTIPLE))
            kept.append(_most_important(steps, i, count))
    return kept


def _most_important(steps: Sequence[Step], boundary: int, count: int) -> Tensor:
    reader = next(i for i in range(boundary, len(steps)) if not steps[i].depthwise)
    importance: Tensor = steps[reader].convolution.weight.detach().flatten(2).norm(dim=(0, 2))
    norm = steps[reader - 1].norm
    if norm is not None and norm.affine:
        importance = importance * norm.weight.detach().abs()
    best: Tensor = importance.argsort(descending=True)[:count]
    return best.sort().values.cpu()


def _convolution(step: Step, inputs: Tensor, outputs: Tensor, stride: int) -> nn.Conv2d:
    given = step.convolution
    kernel = cast(tuple[int, int], given.kernel_size)
    made = nn.Conv2d(
        len(inputs),
        len(outputs),
        kernel,
        stride,
        (kernel[0] // 2, kernel[1] // 2),
        groups=len(inputs) if step.depthwise else 1,
        bias=given.bias is not None,
    )
    weight = given.weight.detach()[outputs]
    made.weight = nn.Parameter((weight if step.depthwise else weight[:, inputs]).clone())
    if given.bias is not None:
        made.bias = nn.Parameter(given.bias.detach()[outputs].clone())
    return made


def _norm(given: _BatchNorm, channels: Tensor) -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(
        len(channels), given.eps, given.momentum, affine=given.affine, track_running_stats=given.track_running_stats
    )
    for name, tensor in given.state_dict().items():
        if tensor.ndim:
            getattr(made, name).data = tensor.detach()[channels].clone()
    return made
