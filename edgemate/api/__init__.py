"""The application layer: one function per verb, called by programs and by the command line alike.

Each takes paths or opened objects and returns a frozen dataclass whose `to_json()` is what the command prints with
`--json`. The names below are found on first use, and a function imports what it needs when it is called, so what is
wrong with a request is reported before PyTorch is loaded. No module may have the name of one of them, since importing
it would put the module in that name's place.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgemate.api.benching import BenchReport, ExitTimes, InputTimes, bench
    from edgemate.api.building import Built, build
    from edgemate.api.bundles import SignedBundle, make_keys, pack_bundle, sign_bundle, unpack_bundle, verify_bundle
    from edgemate.api.calibrating import Calibration, calibrate
    from edgemate.api.classifying import Answer, Classified, classify
    from edgemate.api.comparing import Compared, compare
    from edgemate.api.drift import StatisticsCheck, check_statistics
    from edgemate.api.evaluating import evaluate
    from edgemate.api.evaluations import Evaluation
    from edgemate.api.exporting import export
    from edgemate.api.inspecting import BundleReport, RunReport, inspect
    from edgemate.api.listing import NetworkNames, list_models
    from edgemate.api.loading import load
    from edgemate.api.planning import plan
    from edgemate.api.profile_comparing import compare_profiles
    from edgemate.api.profiling import profile
    from edgemate.api.running import run
    from edgemate.api.serving import serve
    from edgemate.api.training import Trained, train

__all__ = [
    "Answer",
    "BenchReport",
    "Built",
    "BundleReport",
    "Calibration",
    "Classified",
    "Compared",
    "Evaluation",
    "ExitTimes",
    "InputTimes",
    "NetworkNames",
    "RunReport",
    "SignedBundle",
    "StatisticsCheck",
    "Trained",
    "bench",
    "build",
    "calibrate",
    "check_statistics",
    "classify",
    "compare",
    "compare_profiles",
    "evaluate",
    "export",
    "inspect",
    "list_models",
    "load",
    "make_keys",
    "pack_bundle",
    "plan",
    "profile",
    "run",
    "serve",
    "sign_bundle",
    "train",
    "unpack_bundle",
    "verify_bundle",
]

_HOMES = {
    "benching": ("BenchReport", "ExitTimes", "InputTimes", "bench"),
    "building": ("Built", "build"),
    "bundles": ("SignedBundle", "make_keys", "pack_bundle", "sign_bundle", "unpack_bundle", "verify_bundle"),
    "calibrating": ("Calibration", "calibrate"),
    "classifying": ("Answer", "Classified", "classify"),
    "comparing": ("Compared", "compare"),
    "drift": ("StatisticsCheck", "check_statistics"),
    "evaluating": ("evaluate",),
    "evaluations": ("Evaluation",),
    "exporting": ("export",),
    "inspecting": ("BundleReport", "RunReport", "inspect"),
    "listing": ("NetworkNames", "list_models"),
    "loading": ("load",),
    "planning": ("plan",),
    "profile_comparing": ("compare_profiles",),
    "profiling": ("profile",),
    "serving": ("serve",),
    "running": ("run",),
    "training": ("Trained", "train"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
