"""How fast the training went, epoch by epoch: `speed.csv`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from edgemate.training.callbacks import write_rows


class Speed(Callback):
    """Writes a row per epoch.

    Columns: `epoch`; `images` trained on; `seconds` that took, calibration and checkpoint not counted;
    `data_seconds`, the part of it in which the loop waited for its next batch; `memory_bytes`, the most that tensors
    took on the GPU so far, or on a CPU the whole process.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []
        self._started = self._ready = 0.0
        self._images, self._waited, self._trained = 0, 0.0, 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the epoch."""
        self._images, self._waited = 0, 0.0
        self._started = self._ready = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Add the time that the loop waited for this batch."""
        self._waited += time.perf_counter() - self._ready
        self._images += len(batch[1])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The loop asks for the next batch; after the last one a GPU may still be at work."""
        if batch_idx + 1 == trainer.num_training_batches and pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)
        self._ready = time.perf_counter()
        self._trained = self._ready - self._started

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Append the epoch's row to the file."""
        self.rows.append(
            {
                "epoch": trainer.current_epoch + 1,
                "images": self._images,
                "seconds": self._trained,
                "data_seconds": self._waited,
                "memory_bytes": _peak_bytes(pl_module.device),
            }
        )
        write_rows(self.path, self.rows)

    def state_dict(self) -> dict[str, Any]:
        """The epochs so far, so that a resumed run has them all."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The epochs up to the checkpoint."""
        self.rows = state_dict["rows"]


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # not on Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
