"""What processes that train together agree on. In one process every function here leaves its tensors as they are."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer


def ranks() -> int:
    """Number of processes that are connected."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all processes, the same in each; without a gradient."""
    if ranks() == 1:
        return tensor
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return total


def mean_over_ranks(tensor: Tensor, images: int = 1) -> Tensor:
    """The mean of a tensor over all processes, the same in each; without a gradient.

    Args:
        tensor: floating-point, of the same shape everywhere: a mean over images of this process.
        images: how many these are. A process counts as often, so that the result is the mean over all images.
    """
    if ranks() == 1:
        return tensor
    weighted = torch.cat([(tensor.detach() * images).reshape(-1), tensor.new_full((1,), float(images))])
    dist.all_reduce(weighted)
    return (weighted[:-1] / weighted[-1]).reshape(tensor.shape)


def average_gradients(optimizer: Optimizer, images: int = 1) -> None:
    """Replace the gradients of an optimizer's parameters by their mean over all processes; see `mean_over_ranks`.

    For the optimizers that a method steps itself: DistributedDataParallel sees to the others.
    """
    if ranks() == 1:
        return
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    _average([one.grad for one in parameters if one.grad is not None], images)


def average_statistics(*modules: nn.Module) -> None:
    """Let running means and variances of batch normalization be their mean over all processes.

    What is in evaluation mode does not move and is left alone, and so are modules that synchronize by themselves.
    """
    if ranks() == 1:
        return
    tensors = [
        buffer
        for module in modules
        for one in module.modules()
        if isinstance(one, _BatchNorm) and one.training and not getattr(one, "synchronizes", False)
        for buffer in (one.running_mean, one.running_var)
        if buffer is not None
    ]
    _average(tensors)


def same_everywhere(tensors: Iterable[Tensor]) -> bool:
    """Whether every process has the same tensors, to the bit, as far as their sums in float64 say."""
    if ranks() == 1:
        return True
    sums = torch.stack([tensor.detach().double().sum() for tensor in tensors])
    first = sums.clone()
    dist.broadcast(first, 0)
    differing = sums.new_tensor(float(not torch.equal(sums, first)))
    return not bool(sum_over_ranks(differing))


def _average(tensors: list[Tensor], images: int = 1) -> None:
    """In place, in one transfer per type."""
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        chosen = [tensor for tensor in tensors if tensor.dtype == dtype]
        means = mean_over_ranks(torch.cat([tensor.reshape(-1) for tensor in chosen]), images)
        for tensor, mean in zip(chosen, torch.split(means, [tensor.numel() for tensor in chosen]), strict=True):
            tensor.copy_(mean.view_as(tensor))
