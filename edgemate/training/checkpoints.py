"""The whole state of a training, written so that it is always there whole."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins import TorchCheckpointIO

from edgemate import files
from edgemate.errors import RunError


class Checkpoint(Callback):
    """Writes the whole state after every so many epochs, and after the last.

    It must come last, so that the other callbacks' state is that of the finished epoch.
    """

    def __init__(self, path: Path, every: int = 1) -> None:
        self.path, self.every = path, every

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace the checkpoint, if this epoch is one of them."""
        epoch = trainer.current_epoch + 1
        if epoch % self.every == 0 or epoch == trainer.max_epochs or trainer.should_stop:
            trainer.save_checkpoint(self.path)


class CheckpointFiles(TorchCheckpointIO):
    """Lightning's checkpoints as files that are replaced only by whole ones, on the disk that they are on.

    Lightning's own go through the folder of temporary files, which may be another disk, and too small.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write it. Raises OSError, with the checkpoint's name, where the disk is full."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        files.write_bytes(Path(path), content.getvalue())

    def load_checkpoint(self, path: str | Path, *given: Any, **options: Any) -> dict[str, Any]:
        """Read it, without pickle's code. Raises RunError, naming the file, where it is damaged."""
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()  # torch does not look at checksums
            if damaged is not None:
                raise zipfile.BadZipFile(f"{damaged} differs from its checksum")
            return super().load_checkpoint(path, *given, **options)
        except (RuntimeError, ValueError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
            reason = " ".join(str(error).split())
            raise RunError(
                f"{path}: not a checkpoint, or damaged ({reason}); without it, resuming begins again"
            ) from error
