"""Settings of a method: values of the options that `--tune` searches, by their place in the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgemate.comparison.exit_count import count_exits
from edgemate.comparison.variants import Variant
from edgemate.config import Recipe, Tune, parse_recipe
from edgemate.config.tuning import option_ranges, rate_range
from edgemate.registry import METHODS

Setting = dict[str, float]
"""Key of the recipe, such as `optimization.lr`, → value. An empty one is the recipe as it is."""

RATE = "optimization.lr"


def search_space(variant: Variant, recipe: Recipe) -> dict[str, Tune]:
    """The key and the range of every number that is searched for a method.

    These are the learning rate and the options that the method declares a range for. An option in the label, as
    `alpha` in `mate:alpha=2`, is fixed. A range is widened to include the recipe's own value, but a term that the
    recipe turns off by 0, where the range is of positive numbers, stays off.

    Args:
        variant: the method, or several.
        recipe: one of its recipes, with all defaults.

    Raises:
        UsageError: a user's own method or optimizer cannot be imported.
    """
    optimization = recipe.optimization
    space = {RATE: rate_range(optimization.optimizer).around(optimization.lr)}
    tree = recipe.model_dump(mode="json")
    for i, part in enumerate(variant.parts):
        place = "distillation.options" if len(variant.parts) == 1 else f"distillation.methods.{i}.options"
        for option, declared in option_ranges(METHODS, part.name).items():
            own = value_at(tree, f"{place}.{option}")
            unknown, off = declared.relative and own is None, declared.log and own == 0
            if option not in part.options and not unknown and not off:
                space[f"{place}.{option}"] = declared.around(own, count_exits(recipe) if declared.root else 1)
    return space


def with_setting(recipe: Recipe, setting: Setting, source: str, *, seed: int | None = None) -> Recipe:
    """The recipe with these values.

    Args:
        recipe: a checked recipe.
        setting: key → value.
        source: what messages call the recipe.
        seed: also replaces `training.seed`, unless it is None.

    Raises:
        RecipeError: a value is not valid, as where a declared range exceeds what its option accepts.
    """
    tree = recipe.model_dump(mode="json")
    changes = {**setting} if seed is None else {**setting, "training.seed": seed}
    for path, value in changes.items():
        holder, _, key = path.rpartition(".")
        value_at(tree, holder)[key] = value
    return parse_recipe(tree, source)


def described(setting: Setting, distillation: Mapping[str, Any]) -> str:
    """The setting for a person: `lr 0.05, alpha 2`; with several methods `lr 0.05, mate.alpha 2`.

    Args:
        setting: key → value.
        distillation: the recipe's section.
    """
    if not setting:
        return "the recipe's own"
    return ", ".join(f"{_short(path, distillation)} {value:.4g}" for path, value in setting.items())


def _short(path: str, distillation: Mapping[str, Any]) -> str:
    keys = path.split(".")
    if keys[:2] == ["distillation", "methods"]:
        return f"{distillation['methods'][int(keys[2])]['name']}.{keys[-1]}"
    return keys[-1]


def value_at(tree: Any, path: str) -> Any:
    """The value at a dotted path, whose numbers are places in lists; None where a mapping lacks a key."""
    for key in path.split("."):
        tree = tree[int(key)] if isinstance(tree, list) else tree.get(key)
    return tree
