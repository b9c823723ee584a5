"""Progress of a running training, reported at every step and written to `progress.json`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from edgemate.progress import Heartbeat, Pace, Progress, duration
from edgemate.runs import Run, TrainingProgress
from edgemate.training.countdown import Countdown
from edgemate.training.task import MultiExitTask

FILE_SECONDS = 5.0
"""Between two times that `progress.json` is written."""


class Live(Callback):
    """Reports epoch, steps, images per second, loss, training accuracy of every exit and the time left.

    The loss and the accuracies are fetched from the device only when they are shown.

    Args:
        progress: receives the reports.
        run: whose `progress.json` is written every few seconds, for whoever watches from another process.
    """

    def __init__(self, progress: Progress, run: Run) -> None:
        self.progress, self.run = progress, run
        self._images = Pace()
        self._countdown = Countdown(1, 1)
        self._file = Heartbeat(FILE_SECONDS)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the countdown."""
        self._countdown = Countdown(trainer.max_epochs or 1, int(trainer.num_training_batches))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the epoch."""
        epoch = trainer.current_epoch + 1
        self._countdown.begin(epoch)
        self._images.restart()
        self.progress.step(f"epoch {epoch}/{trainer.max_epochs}, step")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report the progress."""
        assert isinstance(pl_module, MultiExitTask)
        task = pl_module
        done = batch_idx + 1
        self._images.add(len(batch[1]))
        self._countdown.step(done)
        self.progress.advance(done, self._countdown.steps, lambda: self._detail(outputs, task))
        if self._file.due():
            self._write(trainer.current_epoch + 1, done)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report that the calibration split is evaluated."""
        self.progress.step(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}, calibration split, batch")

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Report the progress."""
        self.progress.advance(batch_idx + 1, int(sum(trainer.num_val_batches)))

    def _detail(self, outputs: Any, task: MultiExitTask) -> str:
        parts = []
        if self._images.rate is not None:
            parts.append(f"{self._images.rate:,.0f} images/s")
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, Tensor):
            parts.append(f"loss {float(loss):.4g}")
        accuracies = task.train_tally.accuracies()
        if accuracies:
            fractions = (100 * accuracies[f"exit{k}"] for k in range(1, task.model.exits + 1))
            parts.append(f"exits {'/'.join(f'{fraction:.1f}' for fraction in fractions)} %")
        if self._countdown.left is not None:
            parts.append(f"training {duration(self._countdown.left)} left")
        return ", ".join(parts)

    def _write(self, epoch: int, step: int) -> None:
        countdown = self._countdown
        self.run.write_progress(TrainingProgress(epoch, countdown.epochs, step, countdown.steps, countdown.left))


class BesideEpochs:
    """A `Progress` for work before and after the epochs, which takes minutes too: written to `progress.json` as well.

    Args:
        progress: is told everything.
        run: whose `progress.json` is written every few seconds.
    """

    def __init__(self, progress: Progress, run: Run) -> None:
        self.progress, self.run = progress, run
        self._work, self._pace, self._done = "", Pace(), 0
        self._file = Heartbeat(FILE_SECONDS)

    def step(self, text: str) -> None:
        """Begin a step."""
        self._work, self._pace, self._done = text, Pace(), 0
        self.progress.step(text)

    def advance(self, done: int, total: int, detail: str | Callable[[], str] = "") -> None:
        """Report the progress."""
        self.progress.advance(done, total, detail)
        self._pace.add(done - self._done)
        self._done = done
        if self._file.due():
            left = self._pace.left(total - done)
            self.run.write_progress(TrainingProgress(0, 0, done, total, left, self._work))

    def unattended(self) -> contextlib.AbstractContextManager[None]:
        """Show elapsed time while a block runs that cannot report progress; nothing is written meanwhile."""
        return self.progress.unattended()
