"""`training.patience`: a training that has stopped improving ends before its last epoch."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console

from edgemate.training.task import MultiExitTask
from edgemate.wording import counted

_STATE = ("score", "best_epoch", "epoch", "counted_from", "epochs")


class EarlyStop(Callback):
    """Stops once the calibration accuracy, averaged over exits, has not improved for `patience` epochs.

    It must come before a callback that averages weights, and before those that act on the last epoch. A run that is
    resumed with another number of epochs gets all of its patience again, since its learning rates are other ones too.

    Args:
        patience: epochs without a higher accuracy after which it stops.
        console: where it is said.
    """

    def __init__(self, patience: int, console: Console) -> None:
        self.patience, self.console = patience, console
        self.score = -1.0
        self.best_epoch = 0
        self.epoch = 0
        self.counted_from = 0
        self.epochs: int | None = None
        self.stopped = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Train no further where the checkpoint is of the epoch that it stopped at."""
        if self.epochs not in (None, trainer.max_epochs):
            self.counted_from = self.epoch
        self.epochs = trainer.max_epochs
        if self._stop(trainer):
            self._say(trainer)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare this epoch with the best so far."""
        assert isinstance(pl_module, MultiExitTask)
        score = pl_module.calibration_tally.accuracies()["mean"]
        self.epoch = trainer.current_epoch + 1
        if score > self.score:
            self.score, self.best_epoch = score, self.epoch
        self._stop(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say so, after the epoch's own line."""
        if self.stopped:
            self._say(trainer)

    def to_json(self) -> dict[str, Any]:
        """For `metrics.json`: whether it stopped, after which epoch, and the best epoch, both counted from 1."""
        return {"stopped": self.stopped, "epoch": self.epoch, "best_epoch": self.best_epoch, "patience": self.patience}

    def state_dict(self) -> dict[str, Any]:
        """The best epoch so far, the current one, the last one, and the one since which the patience counts."""
        return {name: getattr(self, name) for name in _STATE}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The epochs up to the checkpoint."""
        for name in _STATE:
            setattr(self, name, state_dict[name])

    def _stop(self, trainer: Trainer) -> bool:
        waited = self.epoch - max(self.best_epoch, self.counted_from)
        self.stopped = waited >= self.patience and self.epoch < (trainer.max_epochs or 0)
        trainer.should_stop = trainer.should_stop or self.stopped
        return self.stopped

    def _say(self, trainer: Trainer) -> None:
        self.console.out(
            f"stopped after epoch {self.epoch} of {trainer.max_epochs}: the calibration accuracy, averaged over exits, "
            f"has not been above the {100 * self.score:.2f} % of epoch {self.best_epoch} for "
            f"{counted(self.patience, 'epoch')} (training.patience)"
        )
