"""Training: recipe → run.

The names below are found on first use, so that a recipe can be checked without loading Lightning. No module may have
the name of one of them, since importing it would put the module in that name's place.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgemate.training.checks import check_early, check_recipe
    from edgemate.training.trainer import train

__all__ = ["check_early", "check_recipe", "train"]

_HOMES = {"check_early": "checks", "check_recipe": "checks", "train": "trainer"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
