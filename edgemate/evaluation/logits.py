"""The logits of every exit, for every image of a split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgemate.models import MultiExitModel
from edgemate.progress import SILENT, Progress

Logits = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def logit_batches(
    model: MultiExitModel,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    device: torch.device | str = "cpu",
    channels_last: bool = False,
    autocast: torch.dtype | None = None,
    progress: Progress = SILENT,
    total: int | None = None,
    processes: int = 1,
) -> Iterator[tuple[Logits, Labels]]:
    """Run the model over a split, in evaluation mode and without gradients. Its mode is restored.

    Args:
        model: already on `device`.
        batches: images (N, C, H, W) and labels (N,), as an evaluation loader gives them.
        device: where the images go.
        channels_last: memory format of the images; give the model the same.
        autocast: mixed precision in this type; None computes in the model's own.
        progress: notified after each batch of the number of images done.
        total: number of images; None reports no progress.
        processes: that divide the images, at the same speed; progress is that of all.

    Yields:
        For each batch logits float32 (n, K, classes) and labels int64 (n,).
    """
    device = torch.device(device)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    done = 0
    was_training = model.training
    model.eval()
    try:
        for images, labels in batches:
            # Entered for each batch: between two of them the caller's code runs.
            with torch.inference_mode(), torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
                images = images.to(device, non_blocking=True, memory_format=memory_format)
                logits = model(images).float().cpu().numpy()
            yield logits, labels.cpu().numpy().astype(np.int64, copy=False)
            done += len(labels)
            if total is not None:
                progress.advance(min(processes * done, total), total)
    finally:
        model.train(was_training)


def collect_logits(
    model: MultiExitModel,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    device: torch.device | str = "cpu",
    channels_last: bool = False,
    autocast: torch.dtype | None = None,
) -> tuple[Logits, Labels]:
    """The batches of `logit_batches` as one array of each: logits float32 (N, K, classes) and labels int64 (N,)."""
    found = list(logit_batches(model, batches, device=device, channels_last=channels_last, autocast=autocast))
    logits, labels = zip(*found, strict=True)
    return np.concatenate(logits), np.concatenate(labels)
