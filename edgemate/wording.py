"""Numbers in sentences."""

from __future__ import annotations


def counted(number: float, noun: str) -> str:
    """A number with its noun, with s or es unless it is one of them: `1 epoch`, `1,400 images`, `2 classes`."""
    shown = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{shown} {noun}{ending}"
