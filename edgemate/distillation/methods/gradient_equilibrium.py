"""`gradient_equilibrium`: every stage is moved by the mean of the exits behind it (Li et al., ICCV 2019, IMTA).

Factors as in the authors' code, kalviny/IMTA. The paper also distills from the last exit; here that is a second
method in `distillation.methods`.
"""

from __future__ import annotations

from edgemate.distillation.gradients import rescale_gradient
from edgemate.distillation.method import Batch, Loss, Method, Progress
from edgemate.models import ExitOutputs, Features


class GradientEquilibrium(Method):
    """At the cut of exit k: the gradient of head k times 1/(K−k+1), that of what follows times (K−k)/(K−k+1).

    So what comes back to stage k is the mean of the gradients of exits k … K, where plainly it is their sum: it neither
    grows with the number of exits nor forgets one of them. Values stay as they are, and there is no loss: another
    method gives that.
    """

    has_loss = False
    weighs_classes = True

    @property
    def label_weight(self) -> float:
        """It has no loss."""
        return 0.0

    def forward(self, outputs: ExitOutputs, batch: Batch, progress: Progress) -> Loss:
        """A loss of 0: this method only rescales gradients at the cuts."""
        return Loss(outputs.logits.new_zeros(()), {})

    def at_cut(self, exit: int, features: Features) -> tuple[Features, Features]:
        """The features, both for the head and for what follows, with their gradients rescaled."""
        behind = self.setting.exits - exit
        read = {name: rescale_gradient(tensor, 1 / (behind + 1)) for name, tensor in features.items()}
        return read, {name: rescale_gradient(tensor, behind) for name, tensor in read.items()}
