"""Objectives that train all exits together, one per file behind one small interface.

The names below are found on first use, so that what methods need can be checked without loading torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgemate.distillation.building import build_method
    from edgemate.distillation.method import Batch, Loss, Method, Progress, Setting

__all__ = ["Batch", "Loss", "Method", "Progress", "Setting", "build_method"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        module = "building" if name == "build_method" else "method"
        return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
