"""The HTML pages: the report of a profile, and that of a comparison. Each is one file that loads nothing.

The names below are imported on first use, since Bokeh is installed with the extra `report` only. No module may have
the name of one of them, since importing the module would replace the name.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgemate.report.comparison_page import write_comparison_report
    from edgemate.report.writing import Written, report_paths, write_report

__all__ = ["Written", "report_paths", "write_comparison_report", "write_report"]

_HOMES = {"writing": ("Written", "report_paths", "write_report"), "comparison_page": ("write_comparison_report",)}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
