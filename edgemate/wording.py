"""Sentences and numbers as several packages print them."""

from __future__ import annotations

from collections.abc import Iterable

LONGEST = 200
"""Characters of a text from a file that a message repeats."""


def shortened(text: str, longest: int = LONGEST) -> str:
    """A text from a file as a message repeats it: its beginning, if it is long."""
    return text if len(text) <= longest else f"{text[:longest]}…"


def key_path(location: Iterable[object]) -> str:
    """Where in a file something is, as pydantic says it: `exits.0.name`; shortened."""
    return shortened(".".join(str(part) for part in location if part != "[key]"))


def counted(number: float, noun: str) -> str:
    """A number with its noun, in the plural unless the number is 1: `1 epoch`, `1,400 images`, `2 classes`."""
    shown = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    ending = "" if number == 1 else "es" if noun.endswith(("s", "x", "sh", "tch")) else "s"
    return f"{shown} {noun}{ending}"


def needing(number: int, noun: str) -> str:
    """A number with its noun and the verb: `1 exit needs`, `2 classes need`."""
    return f"{counted(number, noun)} need{'s' if number == 1 else ''}"


def engineering(value: float, unit: str = "") -> str:
    """Three significant digits, a prefix and perhaps a unit: 1234567 → `1.23 M`, 4 bytes → `4 B`."""
    for prefix in ("", "k", "M", "G"):
        if abs(value) < 999.5:
            return f"{value:.3g} {prefix}{unit}".rstrip()
        value /= 1000
    return f"{value:.3g} T{unit}"


def percent(fraction: float, digits: int = 1) -> str:
    """A fraction in [0, 1] as a percentage: 0.9712 → `97.1 %`."""
    return f"{100 * fraction:.{digits}f} %"


def milliseconds(value: float) -> str:
    """Three significant digits, no exponent: 0.0714 → `0.0714`, 12.34 → `12.3`."""
    digits = 4 if value < 0.1 else 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"


def least_milliseconds(value: float) -> str:
    """The same for a lower bound, which may be far below a microsecond and is then not 0: 0.0000123 → `1.2e-05`."""
    return milliseconds(value) if value >= 0.001 or value == 0 else f"{value:.2g}"


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
