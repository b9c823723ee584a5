"""Scripts that are no part of the package, such as the benchmarks, as modules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def load_script(path: str) -> ModuleType:
    """The script at `path` in benchmarks/, imported."""
    name = "script_" + Path(path).stem
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
