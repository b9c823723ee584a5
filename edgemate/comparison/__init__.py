"""Compares methods on the same network, data, schedule and order of images; only the objective differs.

The names below are imported on first use, so that methods are parsed and recipes checked without importing torch. No
module may have the name of one of them, since importing the module would replace the name.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgemate.comparison.comparing import compare
    from edgemate.comparison.result import Comparison, MethodFigures, RunFigures
    from edgemate.comparison.variants import Variant, parse_variants

__all__ = ["Comparison", "MethodFigures", "RunFigures", "Variant", "compare", "parse_variants"]

_HOMES = {
    "comparing": ("compare",),
    "result": ("Comparison", "MethodFigures", "RunFigures"),
    "variants": ("Variant", "parse_variants"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
