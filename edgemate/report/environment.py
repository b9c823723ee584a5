"""What a profile says of the machine, as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# Parts of a profile that describe its making; the others are its figures.
_PARTS = ("machine", "threads", "conditions", "energy_sensor", "memory", "warm_up", "unavailable", "skipped_operators")


def environment_rows(profile: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of all that is known; parts that a profile does not have are left out."""
    return [row for part in _PARTS if part in profile for row in _rows(part.replace("_", " "), profile[part])]


def _rows(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _rows(f"{name}: {key}".replace("_", " "), inner)
    elif isinstance(value, (list, tuple)):
        yield name, ", ".join(map(str, value)) or "none"
    elif value is not None:
        yield name, f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
