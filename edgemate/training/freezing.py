"""`training.freeze`: what then does not train."""

from __future__ import annotations

from edgemate.config import Training
from edgemate.errors import TrainingError
from edgemate.models import MultiExitModel
from edgemate.training.caching import Caching
from edgemate.wording import counted


def freeze(model: MultiExitModel, training: Training) -> None:
    """Freeze what a recipe's section names.

    Raises:
        TrainingError: nothing can be frozen, or no head is left to train.
        UsageError: there is no cut point of the name in `freeze_until`.
    """
    if training.freeze_until is not None:
        model.freeze_until(training.freeze_until)
    if training.freeze == "none":
        return
    if training.freeze == "statistics":
        model.freeze_statistics()
        if not model.fixed_norms():
            raise TrainingError(
                "training.freeze=statistics: this backbone has no batch normalization; set it to none, or to backbone"
            )
        return
    model.freeze_backbone()
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise TrainingError(
            "training.freeze=backbone: no exit is left to train, since the only one is the network's own classifier; "
            "add earlier exits in exits.at"
        )


def describe_frozen(model: MultiExitModel) -> str:
    """What does not train, in words, for the header; empty if everything does."""
    if not model.backbone_frozen:
        parts = [f"everything up to {model.frozen_until}"] if model.frozen_until else []
        if model.statistics_frozen:
            layers = counted(len(model.fixed_norms()), "batch normalization")
            parts.append(f"mean and variance of {layers} of the backbone")
        return "; ".join(parts)
    trained = sum(one.numel() for one in model.parameters() if one.requires_grad)
    last = " and the last exit's classifier" if len(model.frozen_modules()) > 1 else ""
    return f"backbone{last}; {trained:,} parameters of the exits train"


def describe_features(caching: Caching | None) -> str:
    """Where the features of a frozen backbone come from, in words, for the header."""
    return "computed at every step" if caching is None else caching.describe()
