"""From a recipe to an objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgemate.config import Distillation, Recipe
from edgemate.distillation.combined import Combined
from edgemate.distillation.method import Method, Setting
from edgemate.distillation.teachers.teacher import Teacher
from edgemate.errors import UsageError
from edgemate.models import MultiExitModel
from edgemate.registry import METHODS


def build_method(distillation: Distillation, setting: Setting) -> Method:
    """The objective that a recipe's `distillation` section names; several are summed (see `Combined`).

    Raises:
        UsageError: a method does not fit the network (feature terms need equal widths, for example) or the others, or
            there is none that has a loss.
    """
    if distillation.methods is None:
        method = _make(distillation.method or "", setting, distillation.options)
    else:
        parts = [_make(part.name, setting, part.options) for part in distillation.methods]
        weights = [part.weight for part in distillation.methods]
        _check_companions(distillation.names, parts, setting)
        method = Combined(setting, distillation.names, parts, weights)
    if not method.has_loss:
        names = ", ".join(distillation.names)
        raise UsageError(f"{names} has no loss of its own; give it company, as in methods: [joint_ce, {names}]")
    return method if distillation.scale == "published" else _scaled_by_labels(method, distillation.names)


def setting_of(
    recipe: Recipe,
    model: MultiExitModel,
    classes: int,
    teacher: Teacher | None = None,
    class_weights: tuple[float, ...] | None = None,
) -> Setting:
    """What a method is built for: the network that is trained and the recipe around it."""
    return Setting(
        model.exits,
        classes,
        model.pooled_widths,
        recipe.optimization.label_smoothing,
        model.taps,
        recipe.exits.ensemble,
        unlabeled=recipe.data.unlabeled is not None,
        class_weights=class_weights,
        teacher=teacher,
    )


def _scaled_by_labels(method: Method, names: Sequence[str]) -> Method:
    """The method with its loss divided by what the labels weigh in it."""
    weight = method.label_weight
    if weight == 0:
        raise UsageError(
            f"scale: the labels weigh nothing in {', '.join(names)} as it is set; give them weight, or set scale to "
            "published"
        )
    if weight is None:
        raise UsageError(
            f"scale: {', '.join(names)} does not say what the labels weigh at an exit; leave scale out, or set it to "
            "published"
        )
    parts = method.parts if isinstance(method, Combined) else [method]
    weights = method.weights if isinstance(method, Combined) else (1.0,)
    return Combined(method.setting, names, parts, [one / weight for one in weights])


def _make(name: str, setting: Setting, options: Mapping[str, Any]) -> Method:
    made: Method = METHODS.make(name, Method, setting, **options)
    if getattr(made, "setting", None) is not setting:
        raise UsageError(f"{name}: its __init__ must call super().__init__(setting)")
    return made


def _check_companions(names: Sequence[str], parts: Sequence[Method], setting: Setting) -> None:
    """Refuse a method that trains sums of logits beside one that reads the exits' own logits."""
    for name, part in zip(names, parts, strict=True):
        if setting.ensemble != "none" or part.mixing() is None:
            continue
        others = [other for other, method in zip(names, parts, strict=True) if method is not part and method.has_loss]
        if others:
            raise UsageError(
                f"{name} trains sums of logits, and {others[0]} would read the exits' own; beside {name} only methods "
                "without a loss of their own are allowed, such as gradient_equilibrium"
            )
