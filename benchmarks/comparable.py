"""Whether comparisons that were trained apart are of one recipe."""

from __future__ import annotations

from typing import Any

OF_A_MACHINE = ("cache_dir", "workers", "compile")


def differing_section(ours: dict[str, Any], theirs: dict[str, Any]) -> str | None:
    """The first section of a recipe that differs from another's in more than keys that depend on the machine."""
    return next((name for name in ours if _of_any_machine(ours[name]) != _of_any_machine(theirs.get(name))), None)


def _of_any_machine(section: Any) -> Any:
    if not isinstance(section, dict):
        return section
    return {key: value for key, value in section.items() if key not in OF_A_MACHINE}
