"""`--layouts`: which of the ways to cut the network into graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgemate.bundle.manifest import Layout


def parse_layouts(given: str) -> tuple[Layout, ...]:
    """`segments,prefixes` → the layouts, in the order given. UsageError for others, or one named twice."""
    from typing import get_args

    from edgemate.bundle.manifest import Layout
    from edgemate.errors import UsageError

    known = {str(layout): layout for layout in get_args(Layout)}
    names = [name.strip() for name in given.split(",")]
    if not set(names) <= set(known) or len(set(names)) != len(names):
        raise UsageError(f"--layouts {given!r}: name some of {', '.join(known)}, each once, with commas between")
    return tuple(known[name] for name in names)
