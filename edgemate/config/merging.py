"""Merging one recipe's mapping over another, and parsing overrides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgemate.config.yaml_text import parse_yaml
from edgemate.errors import UsageError
from edgemate.limits import YAML_DEPTH

# Options belong to the name beside them: naming another part drops the old part's options.
_OPTIONS_OF = {
    "name": "options",
    "backbone": "options",
    "head": "options",
    "method": "options",
    "optimizer": "optimizer_options",
    "schedule": "schedule_options",
}
# Of two alternative keys the later one counts: it drops the other one, options included.
_REPLACES = {"method": ("methods",), "methods": ("method", "options")}


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` merged over `base`: mappings are merged, other values are replaced."""
    merged = dict(base)
    for name, options in _OPTIONS_OF.items():
        if name in over and name in base and over[name] != base[name]:
            merged.pop(options, None)
    for name, others in _REPLACES.items():
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
            raise UsageError(f"override {_shown(override)}: write section.key=value, for example optimization.lr=0.05")
        if len(keys) > YAML_DEPTH.most:
            raise UsageError(f"override {_shown(override)}: its path {YAML_DEPTH.exceeded()}")
        try:
            value: Any = parse_yaml(text)
        except ValueError as error:
            raise UsageError(f"override {_shown(override)}: the value is not valid YAML") from error
        for key in reversed(keys):
            value = {key: value}
        merged = merge(merged, value)
    return merged


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else f"{text[:200]}…")
