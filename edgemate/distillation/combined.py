"""Several objectives at once: `distillation.methods`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from edgemate.distillation.method import Batch, Loss, Method, Progress, Setting
from edgemate.distillation.unlabeled import labeled_part
from edgemate.models import ExitOutputs, Features, MultiExitModel


class Combined(Method):
    """Σ_m w_m · L_m. Each method's loss is whole: what two of them have, such as the labels' terms, counts twice.

    Terms and reports carry the method's name, as in `mate.labels`; terms also their weight, so that they still sum to
    the total. Methods that see no unlabeled images are given the labeled ones only.

    Args:
        setting: what it is built for.
        names: of the methods, for terms and reports.
        methods: built for the same setting.
        weights: w, one per method.
    """

    def __init__(
        self, setting: Setting, names: Sequence[str], methods: Sequence[Method], weights: Sequence[float]
    ) -> None:
        super().__init__(setting)
        self.names, self.weights = tuple(names), tuple(weights)
        self.methods = nn.ModuleList(methods)
        self.uses_unlabeled = any(method.uses_unlabeled for method in methods)
        self.needs_teacher = any(method.needs_teacher for method in methods)
        self.reads_images = any(method.reads_images for method in methods)
        self.has_loss = any(method.has_loss for method in methods)
        self.keeps_state = any(method.keeps_state for method in methods)
        self.weighs_classes = all(method.weighs_classes for method in methods)

    @property
    def label_weight(self) -> float | None:
        """The weighted sum of the methods'; None if one of them does not say."""
        found = [method.label_weight for method in self.parts]
        if None in found:
            return None
        return sum(weight * one for weight, one in zip(self.weights, found, strict=True) if one is not None)

    @property
    def parts(self) -> list[Method]:
        """The methods, in order."""
        return [method for method in self.methods if isinstance(method, Method)]

    def bind(self, model: MultiExitModel) -> None:
        """Bind every method to the network."""
        for method in self.parts:
            method.bind(model)

    def forward(self, outputs: ExitOutputs, batch: Batch, progress: Progress) -> Loss:
        """The weighted sum of the methods' losses, and their weighted terms."""
        labeled = labeled_part(outputs, batch) if self.uses_unlabeled else (outputs, batch)
        totals: list[Tensor] = []
        terms: dict[str, Tensor] = {}
        for name, method, weight in zip(self.names, self.parts, self.weights, strict=True):
            seen = (outputs, batch) if method.uses_unlabeled else labeled
            loss = method(*seen, progress)
            totals.append(weight * loss.total)
            terms |= {f"{name}.{term}": weight * value for term, value in loss.terms.items()}
        return Loss(torch.stack(totals).sum(), terms)

    def at_cut(self, exit: int, features: Features) -> tuple[Features, Features]:
        """Apply the methods' `at_cut` one after the other."""
        read, passed = features, features
        for method in self.parts:
            if read is passed:
                read, passed = method.at_cut(exit, read)
            else:
                read, passed = method.at_cut(exit, read)[0], method.at_cut(exit, passed)[1]
        return read, passed

    def teachers(self, logits: Tensor) -> Tensor | None:
        """Teacher logits (N, T, C) of the first method that has teachers; None if there is none."""
        return next((found for method in self.parts if (found := method.teachers(logits)) is not None), None)

    def mixing(self) -> Tensor | None:
        """Mixing weights (K, K) of the first method that has some; None if there is none."""
        return next((found for method in self.parts if (found := method.mixing()) is not None), None)

    def optimizers(self) -> list[Optimizer]:
        """The optimizers that the methods step themselves, in the methods' order."""
        return [optimizer for method in self.parts for optimizer in method.optimizers()]

    def learning_rates(self) -> dict[nn.Parameter, float]:
        """The rates of all methods' parameters that have one of their own."""
        return {one: rate for method in self.parts for one, rate in method.learning_rates().items()}

    def report(self) -> dict[str, float]:
        """Every method's figures, each under `name.key`."""
        return {
            f"{name}.{key}": value
            for name, method in zip(self.names, self.parts, strict=True)
            for key, value in method.report().items()
        }
