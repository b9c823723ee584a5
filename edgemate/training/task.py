"""The Lightning module: one step of training, and the accuracy of every exit on the calibration split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from edgemate.config import Optimization
from edgemate.distillation.method import Batch, Method, Progress, deployed_mixing
from edgemate.distributed.reduce import average_statistics
from edgemate.distributed.sharding import ONE_PROCESS, Sharding
from edgemate.errors import DivergedError
from edgemate.models import ExitOutputs, MultiExitModel
from edgemate.training.cached_loaders import CutFeatures, images_in, network_features
from edgemate.training.compiled_outputs import CompiledOutputs
from edgemate.training.loss_watch import BadLoss, LossWatch
from edgemate.training.mixup import Mixup, mixed_loss
from edgemate.training.optimizers import make_optimizer
from edgemate.training.parameter_groups import parameter_groups
from edgemate.training.schedules import make_schedule, with_warmup
from edgemate.training.tally import Tally

GivenBatch = tuple[Tensor | CutFeatures, Tensor]
"""Images or, with a frozen backbone, cached features; and labels."""

# On a GPU: about a tenth of a CIFAR epoch.
_STEPS_UNSEEN = 50


class MultiExitTask(LightningModule):
    """Trains a multi-exit model with a method.

    Args:
        model: the network.
        method: the objective; its parameters form a group of their own, without weight decay.
        optimization: the recipe's section.
        steps_per_epoch: batches per epoch, which the schedule counts in.
        channels_last: keep images and weights as NHWC in memory.
        compiled: train through `CompiledOutputs`; evaluation never does.
        cuda_graphs: with `compiled`, on a GPU.
        cached: batches hold features at the cuts (see `edgemate.training.cached_loaders`) instead of images.
        mixup: mixes the images of a batch; the accuracy on them is against the label that weighs more.
        sharding: what this process takes of a batch.
        images_in: number of images of step n of an epoch over all processes; None: all steps have as many.
    """

    def __init__(
        self,
        model: MultiExitModel,
        method: Method,
        optimization: Optimization,
        steps_per_epoch: int,
        channels_last: bool = False,
        compiled: bool = False,
        cuda_graphs: bool = False,
        cached: bool = False,
        mixup: Mixup | None = None,
        sharding: Sharding = ONE_PROCESS,
        images_in: Callable[[int], int] | None = None,
    ) -> None:
        super().__init__()
        self.model, self.method = model, method
        self.optimization = optimization
        self.steps_per_epoch = steps_per_epoch
        self.channels_last = channels_last
        if channels_last:
            model.to(memory_format=torch.channels_last)
        self.update_mixing()
        self._evaluated: Callable[..., ExitOutputs] = model.outputs_from if cached else model.outputs
        self._outputs = CompiledOutputs(model, cuda_graphs) if compiled else self._evaluated
        self._mixup = mixup
        self._sharding, self._images_in = sharding, images_in
        self._watch: LossWatch | None = None
        self.train_tally = Tally(model.exits)
        self.calibration_tally = Tally(model.exits)
        self.term_sums: dict[str, Tensor] = {}
        self._optimizer_states: list[dict[str, Any]] = []

    def training_step(self, batch: GivenBatch, batch_index: int) -> Tensor:
        """The loss of one batch. Raises DivergedError when it is not finite."""
        given, labels = batch
        step, weight = batch_index // self._sharding.accumulate, self._weight(labels, batch_index)
        parts, mixed = self._sharding.parts / weight, None
        if self._mixup is not None and isinstance(given, Tensor):
            mixed = self._mixup(given, labels, self.current_epoch, step)
            given, labels = mixed.images, mixed.main_labels
        images = self._lay_out(given)
        outputs = self._outputs(images, self.method.at_cut)
        # Temperatures and logarithms want float32 whatever the network ran in.
        with torch.autocast(labels.device.type, enabled=False):
            outputs = outputs._replace(
                logits=outputs.logits.float(), pooled=tuple(feature.float() for feature in outputs.pooled)
            )
            if mixed is None:
                loss = self.method(outputs, Batch(images_in(images), labels, parts), self._progress(step))
            else:
                loss = mixed_loss(self.method, outputs, mixed._replace(images=images), self._progress(step), parts)
        total: Tensor = loss.total if weight == 1 else weight * loss.total
        self._check_loss(total, batch_index)
        self.train_tally.add(self.model.ensemble_logits(outputs.logits.detach()), labels)
        for name, term in loss.terms.items():
            self.term_sums[name] = self.term_sums.get(name, torch.zeros_like(term)) + weight * term
        return total

    def on_after_backward(self) -> None:
        """Average running statistics over all processes: not before, since backward still reads them."""
        average_statistics(self.model, self.method)

    def validation_step(self, batch: GivenBatch, batch_index: int) -> None:
        """Count the correct predictions of exits and teachers on a batch of the calibration split."""
        images, labels = self._lay_out(batch[0]), batch[1]
        raw_logits = self._evaluated(images).logits.float()
        ensembled = self.model.ensemble_logits(raw_logits)
        self.calibration_tally.add(ensembled, labels, self.method.teachers(raw_logits))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the state of the optimizers that the method steps by itself."""
        checkpoint["method_optimizers"] = [optimizer.state_dict() for optimizer in self.method.optimizers()]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep that state until the parameters are on the device that trains them."""
        self._optimizer_states = checkpoint.get("method_optimizers", [])

    def on_train_start(self) -> None:
        """Resume the state of a checkpoint, if there was one, at the learning rate of this recipe's schedule."""
        for config in self.trainer.lr_scheduler_configs:  # the checkpoint's may have had other epochs
            scheduler = config.scheduler
            assert isinstance(scheduler, LambdaLR)
            for group, rate, factor in zip(
                scheduler.optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True
            ):
                group["lr"] = rate * factor(scheduler.last_epoch)
        if self._optimizer_states:
            for optimizer, state in zip(self.method.optimizers(), self._optimizer_states, strict=True):
                optimizer.load_state_dict(state)
            self._optimizer_states = []

    def on_train_epoch_start(self) -> None:
        """Reset the sums of the last epoch."""
        self.train_tally.reset()
        self.term_sums = {}

    def on_validation_epoch_start(self) -> None:
        """Reset the counts, and take over the method's mixing, averaged if the network is."""
        self.calibration_tally.reset()
        self.update_mixing()

    def update_mixing(self) -> None:
        """Set the mixing that the recipe and the method ask for."""
        self.model.set_mixing(deployed_mixing(self.method))

    def epoch_metrics(self) -> dict[str, float]:
        """Losses, accuracy per exit (fractions of 1) and the method's own report after an epoch."""
        steps = max(1, self.steps_per_epoch * self._sharding.accumulate)
        metrics = {f"loss/{name}": float(total) / steps for name, total in self.term_sums.items()}
        metrics |= {f"train/{name}": value for name, value in self.train_tally.accuracies().items()}
        metrics |= {f"calibration/{name}": value for name, value in self.calibration_tally.accuracies().items()}
        metrics |= {f"method/{name}": value for name, value in self.method.report().items()}
        metrics["lr"] = self.trainer.optimizers[0].param_groups[0]["lr"]
        return metrics

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The recipe's optimizer over all groups, and its schedule, stepped after every batch."""
        settings = self.optimization
        stepped = {
            id(parameter)
            for optimizer in self.method.optimizers()
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        own = [one for one in self.method.parameters() if one.requires_grad and id(one) not in stepped]
        groups = parameter_groups(
            self.model,
            own,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            backbone_lr_scale=settings.backbone_lr_scale,
            layer_decay=settings.layer_decay,
            own_rates=self.method.learning_rates(),
        )
        optimizer = make_optimizer(settings, groups)
        schedule = make_schedule(settings.schedule, settings.epochs, settings.schedule_options)
        schedule = with_warmup(schedule, settings.warmup_epochs)
        # A step is taken at the middle of the stretch that it covers, so a warm-up does not begin with a step of 0.
        factors = LambdaLR(optimizer, lambda step: schedule((step + 0.5) / self.steps_per_epoch))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": factors, "interval": "step"}}

    def _lay_out(self, images: Tensor | CutFeatures) -> Any:
        if not isinstance(images, Tensor):
            return network_features(images, self.channels_last)
        if self.channels_last:
            return images.contiguous(memory_format=torch.channels_last)
        # A loader may give NHWC, and one such tensor makes all that follow NHWC. Of one channel it counts as contiguous
        # in both formats, while a convolution goes by its strides.
        _, channels, height, width = images.shape
        if images.stride() == (channels * height * width, height * width, width, 1):
            return images
        return images.clone(memory_format=torch.contiguous_format)

    def _weight(self, labels: Tensor, batch_index: int) -> float:
        """Weight of a micro-batch among those of its step, so that every image of the step weighs the same.

        It is 1 but for an epoch's last batch, which micro-batches of one size may not make up.
        """
        if self._sharding.parts == 1 or self._images_in is None:
            return 1.0
        images = self._images_in(batch_index // self._sharding.accumulate)
        if images == self.optimization.batch_size:
            return 1.0
        return self._sharding.parts * int((labels >= 0).sum()) / images

    def _progress(self, step: int) -> Progress:
        epochs = self.optimization.epochs
        return Progress(self.current_epoch, epochs, (self.current_epoch + step / self.steps_per_epoch) / epochs)

    def _check_loss(self, loss: Tensor, batch_index: int) -> None:
        if self._watch is None:
            self._watch = LossWatch(1 if loss.device.type == "cpu" else _STEPS_UNSEEN)
        bad = self._watch.add(loss, last=batch_index + 1 >= self.steps_per_epoch * self._sharding.accumulate)
        if bad:
            self._raise_bad_loss(bad, batch_index)

    def _raise_bad_loss(self, bad: BadLoss, batch_index: int) -> None:
        """Name the step and, where they are still there, the largest gradients of the step before."""
        norms = {
            name: parameter.grad.norm().item()
            for name, parameter in self.named_parameters()
            if parameter.grad is not None
        }
        largest = sorted(norms.items(), key=lambda item: -item[1] if item[1] == item[1] else -float("inf"))[:3]
        named = ", ".join(f"{name} {norm:.3g}" for name, norm in largest) or "none yet"
        if bad.steps_ago:
            named = "gone"
        ago = bad.steps_ago
        raise DivergedError(
            f"the loss is {bad.value:g} at step {self.global_step + 1 - ago} (epoch {self.current_epoch + 1}, "
            f"batch {batch_index + 1 - ago}); largest gradients of the step before: {named}; "
            "a lower optimization.lr, a warm-up or gradient_clip may help"
        )
