"""The whole state of a training, written so that it is always there whole."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins import TorchCheckpointIO

from edgemate import files
from edgemate.errors import EdgemateError, RunError

_KINDS: dict[str, type] = {
    "epoch": int,
    "global_step": int,
    "state_dict": dict,
    "loops": dict,
    "callbacks": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
}
"""Keys of Lightning's checkpoints that resuming reads."""


class Checkpoint(Callback):
    """Writes the whole state after every so many epochs, and after the last.

    It must come last, so that the other callbacks' state is that of the finished epoch.
    """

    def __init__(self, path: Path, every: int = 1) -> None:
        self.path, self.every = path, every
        self.began = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """By now what a checkpoint holds has been restored."""
        self.began = True

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
            found: dict[str, Any] = super().load_checkpoint(path, *given, **options)
        except OSError as error:
            raise RunError(f"{path}: cannot be read: {error.strerror or error}") from error
        except Exception as error:  # zipfile, pickle and torch raise almost anything for what is damaged
            # Of what torch says more, some advises to load the file without its protection.
            reason = " ".join(str(error).partition("\n")[0].partition(" In PyTorch 2.6")[0].split())[:200]
            raise RunError(
                f"{path}: not a checkpoint, or damaged ({reason}); without it, resuming begins again"
            ) from error
        problem = _problem_of(found)
        if problem is not None:
            raise RunError(f"{path}: not a checkpoint of a training ({problem}); without it, resuming begins again")
        return found


def has_trained(trainer: Trainer) -> bool:
    """Whether an epoch began; none does where the checkpoint is of the last one."""
    return any(isinstance(callback, Checkpoint) and callback.began for callback in trainer.callbacks)  # type: ignore[attr-defined]


@contextmanager
def translate_restoring_errors(trainer: Trainer, path: Path) -> Iterator[None]:
    """RunError where a training that resumes from a checkpoint fails before its first step.

    The checkpoint has the right form then, and holds something else in it than this network, optimizer and schedule.
    """
    resumes = path.exists()
    try:
        yield
    except (EdgemateError, OSError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if not resumes or has_trained(trainer):
            raise
        reason = " ".join(str(error).split())[:300]
        raise RunError(
            f"{path}: cannot be restored ({type(error).__name__}: {reason}); without it, resuming begins again"
        ) from error


def _problem_of(found: Any) -> str | None:
    """What keeps a checkpoint from being one that Lightning writes; None if nothing does."""
    if not isinstance(found, dict):
        return f"it holds a {type(found).__name__}"
    for key, kind in _KINDS.items():
        if not isinstance(found.get(key), kind) or isinstance(found[key], bool):
            given = type(found[key]).__name__ if key in found else "missing"
            return f"{key} should be a {kind.__name__}, and is {given}"
    if found["epoch"] < 0 or found["global_step"] < 0:
        return "its epoch or step is negative"
    return None
