"""`--layouts`: how the network is cut into graphs, comma-separated."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from edgemate.bundle.manifest import Layout


def split_layouts(given: str) -> tuple[Layout, ...]:
    """`segments,prefixes` → the names in the order given; whether they are layouts is checked by whom they are for."""
    return tuple(cast("Layout", name.strip()) for name in given.split(","))
