"""Shortening a schedule that does not fit into its epochs, so that a recipe can be tried for one epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from edgemate.wording import counted

Tree = Mapping[str, Any]


def fit_to_epochs(
    tree: Tree, written: Tree | None = None, over: Tree | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Make warm-up and milestones end within the epochs; return the recipe and one sentence per changed value.

    A value that does not fit because `over` changes the epochs is scaled with them. A warm-up that never fitted is set
    to half of the epochs; milestones that never fitted are left to the recipe's validation, which refuses them.

    Args:
        tree: the recipe as nested mappings, not yet validated; other mistakes are left unchanged.
        written: the recipe before `over` was merged over it.
        over: the overrides.
    """
    section = dict(_section(tree))
    epochs = _number(section.get("epochs"))
    if epochs is None:
        return dict(tree), []
    given = _section(over or {})
    before = _number(_section(written or {}).get("epochs")) if "epochs" in given else None
    notes = []

    warmup = _number(section.get("warmup_epochs"))
    if warmup is not None and warmup >= epochs:
        scales = before is not None and warmup < before and "warmup_epochs" not in given
        section["warmup_epochs"] = _rounded(warmup * epochs / before if scales and before else epochs / 2)
        notes.append(
            f"optimization.warmup_epochs: {warmup:g} does not end within {_epochs(epochs)}; "
            f"{section['warmup_epochs']:g} is used"
        )

    options = _mapping(section.get("schedule_options"))
    milestones = options.get("milestones")
    theirs = "milestones" in _mapping(given.get("schedule_options"))
    if before and not theirs and _are_numbers(milestones) and epochs <= max(milestones) < before:
        scaled = [_rounded(milestone * epochs / before) for milestone in milestones]
        section["schedule_options"] = {**options, "milestones": scaled}
        notes.append(
            f"optimization.schedule_options.milestones: {_listed(milestones)} of {_epochs(before)} become "
            f"{_listed(scaled)} of {_epochs(epochs)}"
        )
    return ({**tree, "optimization": section} if notes else dict(tree)), notes


def _section(tree: Tree) -> Tree:
    return _mapping(tree.get("optimization"))


def _mapping(value: Any) -> Tree:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> float | None:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf
    return value if usable else None


def _are_numbers(values: Any) -> TypeGuard[list[float]]:
    return isinstance(values, list) and bool(values) and all(_number(value) is not None for value in values)


def _epochs(number: float) -> str:
    return counted(int(number), "epoch")


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _listed(values: list[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
