"""Whether a recipe names a teacher for methods that learn from one, told without importing them."""

from __future__ import annotations

from edgemate.config import Distillation
from edgemate.config.signatures import class_constant
from edgemate.registry import METHODS


def teacher_problem(distillation: Distillation) -> str | None:
    """What is wrong with naming a teacher, or with naming none, beside these methods."""
    needing = [name for name in distillation.names if learns_from_teacher(name)]
    if needing and distillation.teacher is None:
        return f"{needing[0]} needs a teacher and there is none; name a run, a checkpoint in one, or torchvision:NAME"
    if distillation.teacher is not None and not needing:
        return f"{', '.join(distillation.names)} has no use for {distillation.teacher}; leave it out, or use kd"
    return None


def learns_from_teacher(name: str) -> bool:
    """Whether a method learns from `distillation.teacher`. Raises UsageError where there is none of that name."""
    if name in METHODS:
        try:
            return bool(class_constant(*METHODS.place(name), "needs_teacher"))
        except LookupError:
            pass
    return bool(getattr(METHODS.get(name), "needs_teacher", False))
