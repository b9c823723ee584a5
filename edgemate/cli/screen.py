"""Text for a screen or pipe that may not be able to take every character."""

from __future__ import annotations

import io
import sys
from typing import Any
from unicodedata import category

_CONTROL = ("Cc", "Zl", "Zp")
"""Categories of control characters, line and paragraph separators."""


def replace_unencodable() -> None:
    """Print a question mark for a character that standard output or error cannot encode, instead of failing there."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def printable(text: str) -> str:
    """Text on one line: line ends and control characters, which a file's name may hold, are written as escapes."""
    return "".join(one.encode("unicode_escape").decode() if category(one) in _CONTROL else one for one in text)


def print_json(value: Any, indent: int | None = 2) -> None:
    """Print JSON to standard output; where it cannot take a character, all that are not ASCII are escaped."""
    import json

    text = json.dumps(value, indent=indent, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=indent)
    print(text, flush=True)  # a reader of the pipe waits for each
