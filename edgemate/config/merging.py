"""`extends:` and `--set`: one mapping laid over another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from edgemate.errors import UsageError

# Options belong to the name beside them: naming another part leaves the old part's options behind.
_OPTIONS_OF = {
    "name": "options",
    "backbone": "options",
    "head": "options",
    "method": "options",
    "optimizer": "optimizer_options",
    "schedule": "schedule_options",
}
# Of two ways to say one thing, the later one counts: what it takes the place of is left behind, options included.
_IN_PLACE_OF = {"method": ("methods",), "methods": ("method", "options")}


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `over` laid on top: mappings merge, everything else replaces."""
    merged = dict(base)
    for name, options in _OPTIONS_OF.items():
        if name in over and name in base and over[name] != base[name]:
            merged.pop(options, None)
    for name, others in _IN_PLACE_OF.items():
        if over.get(name) is not None:
            for other in others:
                merged.pop(other, None)
    for key, value in over.items():
        known = merged.get(key)
        merged[key] = merge(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return merged


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """`["optimization.lr=0.05"]` → `{"optimization": {"lr": 0.05}}`; values are YAML.

    Raises:
        UsageError: an override is not of the form `section.key=value`.
    """
    merged: dict[str, Any] = {}
    for override in overrides:
        path, equals, text = override.partition("=")
        keys = [key.strip() for key in path.split(".")]
        if not equals or not all(keys):
            raise UsageError(f"overrides {override!r}: write section.key=value, for example optimization.lr=0.05")
        try:
            value: Any = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"overrides {override!r}: the value is not valid YAML") from error
        for key in reversed(keys):
            value = {key: value}
        merged = merge(merged, value)
    return merged
