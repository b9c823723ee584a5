"""What happens around the epochs: seeding, the record and the best weights."""

from __future__ import annotations

import csv
import io
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console

from edgemate import files
from edgemate.runs import Run, write_tensors
from edgemate.training.task import MultiExitTask


class SeedEveryEpoch(Callback):
    """Seeds all generators from (seed, epoch), so that a resumed epoch draws what an uninterrupted one draws.

    Processes that train together draw differently, so that dropout is not the same on all of their images.
    """

    def __init__(self, seed: int, rank: int = 0) -> None:
        self.seed, self.rank = seed, rank

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed Python, numpy and torch."""
        own = [self.rank] if self.rank else []
        state = np.random.SeedSequence([self.seed, trainer.current_epoch, *own]).generate_state(3)
        random.seed(int(state[0]))
        np.random.seed(int(state[1]))  # noqa: NPY002 - for what still draws from the global generator
        torch.manual_seed(int(state[2]))


class Record(Callback):
    """Keeps every epoch's metrics: in `history.csv`, in TensorBoard, and as a line on the screen."""

    def __init__(self, path: Path, console: Console) -> None:
        self.path, self.console = path, console
        self.rows: list[dict[str, float]] = []
        self._started = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the epoch."""
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch down and print it."""
        assert isinstance(pl_module, MultiExitTask)
        seconds = time.perf_counter() - self._started
        metrics = pl_module.epoch_metrics()
        epoch = trainer.current_epoch + 1
        self.rows.append({"epoch": epoch, "seconds": seconds, **metrics})
        write_rows(self.path, self.rows)
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=epoch)
        line = _line(epoch, trainer.max_epochs or epoch, metrics, seconds)
        self.console.print(line, highlight=False, soft_wrap=True)

    def state_dict(self) -> dict[str, Any]:
        """The epochs so far, so that a resumed run has the whole history."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The epochs up to the checkpoint."""
        self.rows = state_dict["rows"]


class BestEpoch(Callback):
    """Keeps the model's weights of the epoch that is best by mean accuracy over exits on the calibration split.

    It must come before a callback that averages weights: at the end of validation that one puts the raw weights back.
    """

    def __init__(self) -> None:
        self.score = -1.0
        self.epoch = 0
        self.weights: dict[str, torch.Tensor] = {}

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare this epoch with the best so far."""
        assert isinstance(pl_module, MultiExitTask)
        score = pl_module.calibration_tally.accuracies()["mean"]
        if score > self.score:
            self.score, self.epoch = score, trainer.current_epoch + 1
            self.weights = {name: value.detach().cpu().clone() for name, value in pl_module.model.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """Score, number and weights of the best epoch so far."""
        return {"score": self.score, "epoch": self.epoch, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The best epoch up to the checkpoint."""
        self.score, self.epoch, self.weights = state_dict["score"], state_dict["epoch"], state_dict["weights"]


class KeepEpochs(Callback):
    """Keeps the model's weights after every so many epochs, and after the last: a route that a student can follow.

    It must come before a callback that averages weights, as `BestEpoch` must, and after `EarlyStop`.
    """

    def __init__(self, run: Run, every: int) -> None:
        self.run, self.every = run, every

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write this epoch's weights, if it is one of them."""
        assert isinstance(pl_module, MultiExitTask)
        epoch = trainer.current_epoch + 1
        if epoch % self.every == 0 or epoch == trainer.max_epochs or trainer.should_stop:
            write_tensors(self.run.epoch_path(epoch), pl_module.model.state_dict())


def write_rows(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write a table with a column for every key of any row, as CSV."""
    table = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in rows)
    files.write_text(path, table.getvalue())


def _line(epoch: int, epochs: int, metrics: dict[str, float], seconds: float) -> str:
    exits = [value for name, value in metrics.items() if name.startswith("calibration/exit")]
    shown = " ".join(f"{100 * value:5.2f}" for value in exits)
    loss = sum(value for name, value in metrics.items() if name.startswith("loss/"))
    return (
        f"epoch {epoch:>{len(str(epochs))}}/{epochs}  loss {loss:8.4f}  calibration exits {shown} %  "
        f"ensemble {100 * metrics.get('calibration/ensemble', 0):5.2f} %  {seconds:6.1f} s"
    )
