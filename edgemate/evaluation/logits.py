"""The logits of every exit, for every image of a split."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgemate.models import MultiExitModel
from edgemate.progress import SILENT, Progress


def collect_logits(
    model: MultiExitModel,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    device: torch.device | str = "cpu",
    channels_last: bool = False,
    autocast: torch.dtype | None = None,
    progress: Progress = SILENT,
    total: int | None = None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Run the model over a split, in evaluation mode and without gradients. Its mode is restored.

    Args:
        model: already on `device`.
        batches: images (N, C, H, W) and labels (N,), as an evaluation loader gives them.
        device: where the images go.
        channels_last: memory format of the images; give the model the same.
        autocast: mixed precision in this type; None computes in the model's own.
        progress: notified after each batch of the number of images done.
        total: number of images; None reports no progress.

    Returns:
        Logits float32 (N, K, classes) and labels int64 (N,), in the order of `batches`.
    """
    device = torch.device(device)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    logits, labels, done = [], [], 0
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            for images, batch_labels in batches:
                images = images.to(device, non_blocking=True, memory_format=memory_format)
                logits.append(model(images).float().cpu())
                labels.append(batch_labels.cpu())
                done += len(batch_labels)
                if total is not None:
                    progress.advance(done, total)
    finally:
        model.train(was_training)
    return torch.cat(logits).numpy(), torch.cat(labels).numpy().astype(np.int64, copy=False)
