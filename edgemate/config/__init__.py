"""Recipes: what a person writes, checked whole before anything starts."""

from edgemate.config.loading import load_recipe, parse_recipe
from edgemate.config.ranges import Tune
from edgemate.config.schema import (
    Data,
    Distillation,
    Exits,
    Model,
    Optimization,
    Part,
    Recipe,
    Training,
    Unlabeled,
)

__all__ = [
    "Data",
    "Distillation",
    "Exits",
    "Model",
    "Optimization",
    "Part",
    "Recipe",
    "Training",
    "Tune",
    "Unlabeled",
    "load_recipe",
    "parse_recipe",
]
