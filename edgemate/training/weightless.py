"""Networks built without memory for their weights, to be asked about and not to be run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_RANDOM_FILLS = frozenset({"bernoulli_", "exponential_", "normal_", "random_", "uniform_"})


@contextmanager
def weightless() -> Iterator[None]:
    """Within it, tensors are made on the meta device, and what would fill them with random numbers does nothing."""
    with torch.device("meta"), _NoRandomFills():
        yield


class _NoRandomFills(TorchFunctionMode):
    """On the meta device torch fills tensors through its compiler, whose import takes longer than the whole check."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        filled = args[0] if args and getattr(func, "__name__", "") in _RANDOM_FILLS else None
        if isinstance(filled, torch.Tensor) and filled.is_meta:
            return filled
        return func(*args, **(kwargs or {}))
