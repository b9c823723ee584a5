"""The Lightning module: one step of training, and the accuracy of every exit on the calibration split."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from edgemate.config import Optimization
from edgemate.distillation import Batch, Method, Progress
from edgemate.errors import TrainingError
from edgemate.models import MultiExitModel
from edgemate.registry import OPTIMIZERS, SCHEDULES
from edgemate.training.schedules import with_warmup
from edgemate.training.tally import Tally


class MultiExitTask(LightningModule):
    """Trains a multi-exit model with a method.

    Args:
        model: the network.
        method: the objective; its parameters form a group of their own, without weight decay.
        optimization: the recipe's section.
        steps_per_epoch: batches per epoch, which the schedule counts in.
        channels_last: lay pictures and weights out as NHWC in memory.
    """

    def __init__(
        self,
        model: MultiExitModel,
        method: Method,
        optimization: Optimization,
        steps_per_epoch: int,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.method = model, method
        self.optimization = optimization
        self.steps_per_epoch = steps_per_epoch
        self.channels_last = channels_last
        if channels_last:
            model.to(memory_format=torch.channels_last)
        self.train_tally = Tally(model.exits)
        self.calibration_tally = Tally(model.exits)
        self.term_sums: dict[str, Tensor] = {}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """The loss of one batch. Raises TrainingError when it is no finite number."""
        images, labels = self._lay_out(batch[0]), batch[1]
        outputs = self.model.outputs(images, self.method.at_cut)
        # Temperatures and logarithms want float32 whatever the network ran in.
        with torch.autocast(images.device.type, enabled=False):
            outputs = outputs._replace(
                logits=outputs.logits.float(), pooled=tuple(feature.float() for feature in outputs.pooled)
            )
            loss = self.method(outputs, Batch(images, labels), self._progress(batch_index))
        if not torch.isfinite(loss.total):
            self._stop_at(loss.total, batch_index)
        self.train_tally.add(outputs.logits.detach(), labels)
        for name, term in loss.terms.items():
            self.term_sums[name] = self.term_sums.get(name, torch.zeros_like(term)) + term
        total: Tensor = loss.total
        return total

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        """Count the exits', and the teachers', right answers on a batch of the calibration split."""
        images, labels = self._lay_out(batch[0]), batch[1]
        logits = self.model(images).float()
        self.calibration_tally.add(logits, labels, self.method.teachers(logits))

    def on_train_epoch_start(self) -> None:
        """Forget the last epoch's sums."""
        self.train_tally.reset()
        self.term_sums = {}

    def on_validation_epoch_start(self) -> None:
        """Forget the last epoch's counts."""
        self.calibration_tally.reset()

    def epoch_metrics(self) -> dict[str, float]:
        """Losses, accuracy per exit (shares of 1) and the method's own report after an epoch."""
        steps = max(1, self.steps_per_epoch)
        metrics = {f"loss/{name}": float(total) / steps for name, total in self.term_sums.items()}
        metrics |= {f"train/{name}": value for name, value in self.train_tally.accuracies().items()}
        metrics |= {f"calibration/{name}": value for name, value in self.calibration_tally.accuracies().items()}
        metrics |= {f"method/{name}": value for name, value in self.method.report().items()}
        metrics["lr"] = self.trainer.optimizers[0].param_groups[0]["lr"]
        return metrics

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The recipe's optimiser over both groups, and its schedule, stepped after every batch."""
        settings = self.optimization
        groups: list[dict[str, Any]] = [
            {"params": list(self.model.parameters()), "weight_decay": settings.weight_decay},
        ]
        own = [parameter for parameter in self.method.parameters() if parameter.requires_grad]
        if own:
            groups.append({"params": own, "weight_decay": 0.0})
        optimizer = OPTIMIZERS.get(settings.optimizer)(groups, settings.lr, **settings.optimizer_options)
        schedule = SCHEDULES.get(settings.schedule)(settings.epochs, **settings.schedule_options)
        schedule = with_warmup(schedule, settings.warmup_epochs)
        # A step is taken at the middle of the stretch that it covers, so a warm-up does not begin with a step of 0.
        factors = LambdaLR(optimizer, lambda step: schedule((step + 0.5) / self.steps_per_epoch))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": factors, "interval": "step"}}

    def _lay_out(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=torch.channels_last) if self.channels_last else images

    def _progress(self, batch_index: int) -> Progress:
        epochs = self.optimization.epochs
        return Progress(self.current_epoch, epochs, (self.current_epoch + batch_index / self.steps_per_epoch) / epochs)

    def _stop_at(self, loss: Tensor, batch_index: int) -> None:
        """Name the step and the parameters whose gradients were largest in the step before."""
        norms = {
            name: parameter.grad.norm().item()
            for name, parameter in self.named_parameters()
            if parameter.grad is not None
        }
        largest = sorted(norms.items(), key=lambda item: -item[1] if item[1] == item[1] else -float("inf"))[:3]
        named = ", ".join(f"{name} {norm:.3g}" for name, norm in largest) or "none yet"
        raise TrainingError(
            f"the loss is {loss.detach().item():g} at step {self.global_step + 1} (epoch {self.current_epoch + 1}, "
            f"batch {batch_index + 1}); largest gradients of the step before: {named}; "
            "a lower optimization.lr, a warm-up or gradient_clip may help"
        )
