"""Latency of every exit at batch 1 in PyTorch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edgemate.models import MultiExitModel, Prefix
from edgemate.progress import SILENT, Progress
from edgemate.timing import Latency, measure_alternately

WARMUP = 20

Image = npt.NDArray[np.float32]


def pytorch_latency(
    model: MultiExitModel, image: Image, threads: int, repeats: int, progress: Progress = SILENT
) -> list[Latency]:
    """Time of every prefix in PyTorch on the CPU, in evaluation and inference mode, the exits in turn.

    Args:
        model: on the CPU.
        image: float32 (1, C, H, W).
        threads: for PyTorch's operators.
        repeats: timed calls per exit.
        progress: see `edgemate.timing.time_rounds`.
    """
    tensor = torch.from_numpy(image)
    model.eval()
    calls: dict[int, Callable[[], Any]] = {
        exit: partial(Prefix(model, exit), tensor) for exit in range(1, model.exits + 1)
    }
    with _threads(threads), torch.inference_mode():
        return list(measure_alternately(calls, warmup=WARMUP, repeats=repeats, progress=progress).values())


@contextlib.contextmanager
def _threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
