"""What recipes of older runs have in other places or under other names."""

from __future__ import annotations

from typing import Any


def with_cache_in_data(recipe: Any) -> Any:
    """`data.cache`, which was `training.data_on_device`."""
    training = recipe.get("training") if isinstance(recipe, dict) else None
    if not isinstance(training, dict) or "data_on_device" not in training:
        return recipe
    kept = {key: setting for key, setting in training.items() if key != "data_on_device"}
    data = recipe.get("data")
    if training["data_on_device"] is True and isinstance(data, dict):
        data = {"cache": "device", **data}
    return {**recipe, "data": data, "training": kept}


def with_teacher_lr(recipe: Any, usual_lr: float) -> Any:
    """The option `teacher_lr` of mate, which was `teacher_rate`, a factor on the recipe's learning rate.

    Args:
        recipe: as it was read.
        usual_lr: learning rate of a recipe without one.
    """
    if not isinstance(recipe, dict) or not isinstance(section := recipe.get("distillation"), dict):
        return recipe
    optimization = recipe.get("optimization")
    lr = optimization.get("lr", usual_lr) if isinstance(optimization, dict) else None
    section = _method_with_teacher_lr(section, lr)
    if isinstance(methods := section.get("methods"), list):
        section = {**section, "methods": [_method_with_teacher_lr(part, lr) for part in methods]}
    return {**recipe, "distillation": section}


def _method_with_teacher_lr(part: Any, lr: Any) -> Any:
    if not isinstance(part, dict) or part.get("method", part.get("name", "mate")) != "mate":
        return part
    options = part.get("options")
    factor = options.get("teacher_rate") if isinstance(options, dict) else None
    if not isinstance(options, dict) or not isinstance(factor, int | float) or not isinstance(lr, int | float):
        return part
    try:
        rate = float(factor) * float(lr)
    except OverflowError:  # an integer beyond all floats
        return part
    return {
        **part,
        "options": {"teacher_lr": rate, **{key: one for key, one in options.items() if key != "teacher_rate"}},
    }
