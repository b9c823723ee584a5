"""The calls that time a network in PyTorch: every exit's prefix and segment, on the CPU and on a CUDA GPU."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edgemate.models import MultiExitModel, Prefix, Segment
from edgemate.models.backbone import Features
from edgemate.profiling.timings import Case, Loading
from edgemate.sensors.reading import Reading
from edgemate.timing import SelfTimed

Images = npt.NDArray[np.float32]
Calls = dict[Case, Callable[[], object]]


def pytorch_calls(model: MultiExitModel, images: Images, batches: Sequence[int]) -> tuple[Calls, tuple[Loading, ...]]:
    """The calls of every exit and batch size, on the CPU and on the first CUDA GPU if there is one.

    They must be made inside `inference(threads)`. Times on a GPU are those between two CUDA events, without the
    transfer of images and logits.

    Args:
        model: on the CPU.
        images: float32 (N, C, H, W), repeated to fill a batch.
        batches: batch sizes.

    Returns:
        Case → call, and how long the first call of the whole network took on each device.
    """
    calls: Calls = {}
    loading = []
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        started = time.perf_counter()
        placed = model.eval() if device == "cpu" else copy.deepcopy(model).eval().to(device)
        loaded = time.perf_counter()
        whole = Prefix(placed, placed.exits)
        with torch.inference_mode():
            first = torch.from_numpy(images[:1]).to(device)
            whole(first)
            if device == "cuda":
                torch.cuda.synchronize()
        called = time.perf_counter()
        loading.append(Loading(f"pytorch-{device}", "prefix", 1e3 * (loaded - started), 1e3 * (called - loaded)))
        for batch in batches:
            tensor = torch.from_numpy(np.resize(images, (batch, *images.shape[1:]))).to(device)
            calls.update(_calls(placed, tensor, device, batch))
    return calls, tuple(loading)


@contextlib.contextmanager
def inference(threads: int) -> Iterator[None]:
    """Inference mode with so many CPU threads for PyTorch's operators; what was set before comes back."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(before)


def cuda_peak() -> Reading | None:
    """Most bytes of GPU memory that PyTorch's tensors have held so far; None without a CUDA GPU."""
    return Reading(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else None


class CudaTimed(SelfTimed):
    """A call whose time is that between two events in the GPU's own queue.

    Args:
        call: enqueues the work.
        prepare: enqueues work before it that is not timed.
    """

    def __init__(self, call: Callable[[Any], object], prepare: Callable[[], Any]) -> None:
        self._call = call
        self._prepare = prepare
        event: Any = torch.cuda.Event  # untyped
        self._start, self._end = (event(enable_timing=True) for _ in range(2))

    def __call__(self) -> float:
        """Wait for the GPU before and after; the milliseconds between both events."""
        given = self._prepare()
        torch.cuda.synchronize()
        self._start.record()
        self._call(given)
        self._end.record()
        self._end.synchronize()
        return float(self._start.elapsed_time(self._end))


class HostTimed(SelfTimed):
    """A call on the CPU, timed without what prepares its input."""

    def __init__(self, call: Callable[[Any], object], prepare: Callable[[], Any]) -> None:
        self._call = call
        self._prepare = prepare

    def __call__(self) -> float:
        """Prepare, then time the call, in milliseconds."""
        given = self._prepare()
        started = time.perf_counter_ns()
        self._call(given)
        return (time.perf_counter_ns() - started) * 1e-6


def _calls(model: MultiExitModel, tensor: torch.Tensor, device: str, batch: int) -> Calls:
    timed = CudaTimed if device == "cuda" else HostTimed
    library = f"pytorch-{device}"
    segments = [Segment(model, exit) for exit in range(1, model.exits + 1)]
    calls: Calls = {}
    for exit in range(1, model.exits + 1):
        calls[Case(library, "prefix", exit, batch)] = timed(Prefix(model, exit), partial(_given, tensor))
        # Run again for each call, since a stage may change its input in place.
        features = partial(_features, segments[: exit - 1], tensor)
        calls[Case(library, "segment", exit, batch)] = timed(segments[exit - 1], features)
    return calls


def _given(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _features(segments: Sequence[Segment], tensor: torch.Tensor) -> Features:
    features: Features = {"image": tensor}
    for segment in segments:
        features, _ = segment(features)
    return features
