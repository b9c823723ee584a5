"""Counted cost, measured latency and accuracy of every exit and operating point.

The names below are imported on first use, so that an invalid request fails before torch is imported. No module may
have the name of one of them, since importing the module would replace the name.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgemate.profiling.bundle_profiler import profile_bundle
    from edgemate.profiling.profile_result import ExitProfile, Point, Profile
    from edgemate.profiling.profiler import profile_run
    from edgemate.profiling.run_calibration import calibrate_run

__all__ = ["ExitProfile", "Point", "Profile", "calibrate_run", "profile_bundle", "profile_run"]

_HOMES = {
    "bundle_profiler": ("profile_bundle",),
    "profile_result": ("ExitProfile", "Point", "Profile"),
    "profiler": ("profile_run",),
    "run_calibration": ("calibrate_run",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
