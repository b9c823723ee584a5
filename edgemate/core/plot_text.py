"""Text of users in figures of matplotlib, shown as it is."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator


def literal(text: str) -> str:
    """Text without meaning to matplotlib: a dollar begins no formula, and an underscore hides no legend entry."""
    shown = text.replace("$", "\\$")
    return f" {shown}" if shown.startswith("_") else shown


@contextlib.contextmanager
def quiet_glyphs() -> Iterator[None]:
    """Draw without a warning for each character that the font does not have; it is drawn as a box."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from")
        yield
