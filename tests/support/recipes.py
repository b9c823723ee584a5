"""A recipe that trains in a second or two, on real digits."""

from __future__ import annotations

from typing import Any

from edgemate.config import Recipe, parse_recipe
from edgemate.config.merging import merge, parse_overrides

SMALL: dict[str, Any] = {
    "data": {"name": "digits", "train_limit": 512, "augmentation": [{"random_crop": {"padding": 1}}]},
    "model": {"backbone": "resnet8", "options": {"width": 4}},
    "exits": {"head": "conv", "options": {"dropout": 0.1}},
    "optimization": {"epochs": 3, "batch_size": 32, "lr": 0.1},
    # The same on every processor, and what is evaluated is exactly what was trained.
    "training": {"precision": "fp32"},
}


def small_recipe(*overrides: str) -> Recipe:
    """The small recipe with `section.key=value` strings laid over it."""
    return parse_recipe(merge(SMALL, parse_overrides(overrides)), "small.yaml")
