"""What processes that train together do around their epochs."""

from __future__ import annotations

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from edgemate.distributed.reduce import mean_over_ranks, same_everywhere
from edgemate.errors import TrainingError
from edgemate.training.task import MultiExitTask


class AgreeOnEpochs(Callback):
    """Sums counts and averages losses over all processes, before other callbacks read them: it must come first."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the predictions of all processes on the calibration split."""
        assert isinstance(pl_module, MultiExitTask)
        pl_module.calibration_tally.sum_over_ranks()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do the same for the training's figures, and check that all processes have the same weights.

        Raises:
            TrainingError: they have not.
        """
        assert isinstance(pl_module, MultiExitTask)
        pl_module.train_tally.sum_over_ranks()
        names = list(pl_module.term_sums)
        if names:
            means = mean_over_ranks(torch.stack([pl_module.term_sums[name] for name in names]))
            pl_module.term_sums = dict(zip(names, means.unbind(), strict=True))
        if not same_everywhere(pl_module.parameters()):
            raise TrainingError(
                f"the processes have different weights after epoch {trainer.current_epoch + 1}: a part of the recipe "
                "changes parameters by itself; average its gradients (edgemate.distributed.reduce), or use one process"
            )
