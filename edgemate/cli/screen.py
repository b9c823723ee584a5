"""Text for a screen or pipe that may not be able to take every character."""

from __future__ import annotations

import io
import sys
from typing import Any


def replace_unencodable() -> None:
    """Print a question mark for a character that standard output or error cannot encode, instead of failing there."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def print_json(value: Any, indent: int | None = 2) -> None:
    """Print JSON to standard output; where it cannot take a character, all that are not ASCII are escaped."""
    import json

    text = json.dumps(value, indent=indent, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=indent)
    print(text, flush=True)  # a reader of the pipe waits for each
