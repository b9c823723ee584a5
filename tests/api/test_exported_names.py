"""`import edgemate` gives the verbs on first use."""

from __future__ import annotations

import dataclasses
import inspect
import json
import subprocess
import sys

import pytest

import edgemate
from edgemate import api

VERBS = [
    "bench",
    "build",
    "calibrate",
    "classify",
    "compare",
    "compare_profiles",
    "evaluate",
    "export",
    "inspect",
    "plan",
    "profile",
    "run",
    "train",
]
OTHERS = ["list_models", "load"]

LIST = """
import inspect, json, sys
import edgemate
heavy = [name for name in ("numpy", "torch", "onnxruntime", "pydantic") if name in sys.modules]
verbs = {name: inspect.getdoc(getattr(edgemate, name)).splitlines()[0] for name in edgemate.__all__ if name[0] != "_"}
print(json.dumps([heavy, verbs, [name for name in ("torch", "onnx", "onnxruntime") if name in sys.modules]]))
"""


def test_the_verbs_are_listed_with_a_summary_and_nothing_heavy_is_imported() -> None:
    shown = subprocess.run([sys.executable, "-c", LIST], capture_output=True, text=True, check=True, timeout=60).stdout
    on_import, verbs, after = json.loads(shown)
    assert (on_import, after) == ([], [])
    assert list(verbs) == sorted([*VERBS, *OTHERS])
    assert all(len(summary) > 20 for summary in verbs.values())


@pytest.mark.parametrize("package", [edgemate, api])
def test_names_are_sorted_and_all_of_them_are_there(package: object) -> None:
    names = package.__all__  # type: ignore[attr-defined]
    assert list(names) == sorted(names)
    assert set(names) <= set(dir(package))
    for name in names:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'paint'"):
        package.paint  # type: ignore[attr-defined] # noqa: B018


@pytest.mark.parametrize("verb", [*VERBS, *OTHERS])
def test_a_verb_says_what_it_takes_gives_and_raises(verb: str) -> None:
    function = getattr(edgemate, verb)
    text = inspect.getdoc(function) or ""
    positions = [text.index(f"\n{section}:\n") for section in ("Args", "Returns", "Raises", "Example")]
    assert positions == sorted(positions)
    for parameter in inspect.signature(function).parameters:
        assert f"    {parameter}: " in text, parameter


def test_a_function_keeps_its_name_after_everything_is_imported() -> None:
    import edgemate.exporting  # the package that does the work has another name
    import edgemate.training

    assert inspect.isfunction(edgemate.export)
    assert inspect.isfunction(edgemate.train)


def test_what_verbs_return_is_frozen_and_has_json() -> None:
    from edgemate.comparison import Comparison
    from edgemate.exporting import Exported
    from edgemate.models.plan_result import Plan
    from edgemate.profiling import Profile

    kinds = [getattr(api, name) for name in api.__all__ if inspect.isclass(getattr(api, name))]
    for kind in [*(kind for kind in kinds if kind is not api.ExitTimes), Comparison, Exported, Plan, Profile]:
        assert dataclasses.is_dataclass(kind)
        assert kind.__dataclass_params__.frozen
        assert inspect.signature(kind.to_json).return_annotation == "dict[str, Any]"
