"""`training.freeze: backbone`: what then does not train."""

from __future__ import annotations

from edgemate.errors import TrainingError
from edgemate.models import MultiExitModel
from edgemate.training.caching import Caching


def freeze(model: MultiExitModel) -> None:
    """Freeze the backbone. Raises TrainingError where no head is left to train."""
    model.freeze_backbone()
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise TrainingError(
            "training.freeze=backbone: no exit is left to train, since the only one is the network's own classifier; "
            "add earlier exits in exits.at"
        )


def describe_frozen(model: MultiExitModel) -> str:
    """What does not train, in words, for the header; empty if everything does."""
    if not model.backbone_frozen:
        return ""
    trained = sum(one.numel() for one in model.parameters() if one.requires_grad)
    last = " and the last exit's classifier" if len(model.frozen_modules()) > 1 else ""
    return f"backbone{last}; {trained:,} parameters of the exits train"


def describe_features(caching: Caching | None) -> str:
    """Where the features of a frozen backbone come from, in words, for the header."""
    return "computed at every step" if caching is None else caching.describe()
