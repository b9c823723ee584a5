"""`training.freeze`: what then does not train."""

from __future__ import annotations

from typing import Literal

from edgemate.errors import TrainingError
from edgemate.models import MultiExitModel
from edgemate.training.caching import Caching
from edgemate.wording import counted


def freeze(model: MultiExitModel, what: Literal["none", "statistics", "backbone"]) -> None:
    """Freeze what the recipe names. Raises TrainingError where nothing can be frozen, or no head is left to train."""
    if what == "none":
        return
    if what == "statistics":
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
    if model.statistics_frozen:
        return f"mean and variance of {counted(len(model.fixed_norms()), 'batch normalization')} of the backbone"
    if not model.backbone_frozen:
        return ""
    trained = sum(one.numel() for one in model.parameters() if one.requires_grad)
    last = " and the last exit's classifier" if len(model.frozen_modules()) > 1 else ""
    return f"backbone{last}; {trained:,} parameters of the exits train"


def describe_features(caching: Caching | None) -> str:
    """Where the features of a frozen backbone come from, in words, for the header."""
    return "computed at every step" if caching is None else caching.describe()
