"""How many exits a recipe's network has, before it is built for its images."""

from __future__ import annotations

from edgemate.config import Recipe
from edgemate.registry import BACKBONES


def count_exits(recipe: Recipe) -> int:
    """The number of exits; too large a one for a traced network with fewer cut points than the usual four exits."""
    exits, backbone = recipe.exits, recipe.model.backbone
    if isinstance(exits.at, list):
        return len(exits.at)
    from edgemate.models import build_model
    from edgemate.models.placing import USUAL_COUNT
    from edgemate.training.weightless import weightless

    traced = ":" in backbone or BACKBONES.library(backbone) is not None
    if exits.count is not None or exits.at == "auto" or traced:
        return exits.count or USUAL_COUNT
    with weightless():
        return build_model(recipe.model.model_copy(update={"weights": None}), exits, channels=3, classes=2).exits
