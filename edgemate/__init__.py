"""edgemate: multi-exit image classifiers that really stop at the earliest exit that will do.

    import edgemate

    trained = edgemate.train("digits/resnet8_mate", "runs/digits")
    exported = edgemate.export(trained.run, "bundles/digits")
    edgemate.calibrate(exported.bundle, max_accuracy_drop=0.5)
    with edgemate.load("bundles/digits") as classifier:
        [prediction] = classifier.classify("image.png", "balanced")

The functions are those of `edgemate.api`, found on first use: importing this package imports neither PyTorch nor numpy.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgemate.api import (
        bench,
        build,
        calibrate,
        classify,
        compare,
        compare_profiles,
        evaluate,
        export,
        inspect,
        list_models,
        load,
        plan,
        profile,
        run,
        train,
    )

# ONNX Runtime's packages for Linux may keep an identifier of the machine in the user's cache and report to their maker.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "bench",
    "build",
    "calibrate",
    "classify",
    "compare",
    "compare_profiles",
    "evaluate",
    "export",
    "inspect",
    "list_models",
    "load",
    "plan",
    "profile",
    "run",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from edgemate import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
