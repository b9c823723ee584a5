"""Which numbers may divide logits."""

from __future__ import annotations

from collections.abc import Iterable

from edgemate.errors import UsageError

LOWEST, HIGHEST = 1e-6, 1e6
"""Beyond, logits that are divided in float32 are infinite or all alike."""


def check_temperatures(policy: str, temperatures: Iterable[float]) -> None:
    """Raise UsageError, naming the policy, for a temperature that cannot be used."""
    for value in temperatures:
        if not LOWEST <= value <= HIGHEST:
            raise UsageError(f"{policy}: temperature must be from {LOWEST:g} to {HIGHEST:g}, not {value}")
