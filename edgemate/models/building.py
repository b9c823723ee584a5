"""From a recipe's sections to a model."""

from __future__ import annotations

from typing import Any

from edgemate.config import Exits, Model
from edgemate.models.backbone import Tap
from edgemate.models.heads.head import Head
from edgemate.models.multi_exit import MultiExitModel
from edgemate.registry import BACKBONES, HEADS


def build_model(model: Model, exits: Exits, channels: int, classes: int) -> MultiExitModel:
    """The multi-exit model that a recipe's `model` and `exits` sections describe.

    Args:
        model: backbone and its options.
        exits: cut points and head.
        channels: of the image.
        classes: C.

    Raises:
        UsageError: a cut point or option does not fit the backbone.
    """
    backbone = BACKBONES.get(model.backbone)(channels, **model.options)
    head_options: dict[str, Any] = exits.options

    def make_head(tap: Tap) -> Head:
        head: Head = HEADS.get(exits.head)(tap, classes, **head_options)
        return head

    return MultiExitModel(backbone, exits.at, make_head)
