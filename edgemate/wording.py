"""Sentences that several packages share."""

from __future__ import annotations


def counted(number: float, noun: str) -> str:
    """A number with its noun, with s or es unless it is one of them: `1 epoch`, `1,400 images`, `2 classes`."""
    shown = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{shown} {noun}{ending}"


def other_format(given: int, version: int, remedy: str) -> str | None:
    """What is wrong with a file whose `format_version` is `given`; None if that is the `version` read here.

    Args:
        given: the file's.
        version: the one that this edgemate writes and reads.
        remedy: what to do about an older one.
    """
    if given == version:
        return None
    writer, remedy = ("an older", remedy) if given < version else ("a newer", "upgrade edgemate")
    return f"was written by {writer} edgemate (format {given}); this one reads format {version}: {remedy}"
