"""Text for a screen or pipe: what may not be able to take every character, and must not obey any.

Names, labels and messages come from files that others made. A control character in one could change the screen, hide
text or turn its direction. `printable` is the one place that decides which characters are shown as escapes, and what
prints text calls it: `say`, `print_json`, and the consoles of `edgemate.cli.console`.
"""

from __future__ import annotations

import io
import os
import re
import select
import sys
from typing import Any, TextIO
from unicodedata import category

_CONTROL = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Categories: control and format characters, such as changes of direction, surrogates, line separators."""
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""Format characters that some scripts are written with, and that hide nothing."""


def replace_unencodable() -> None:
    """Print a question mark for a character that standard output or error cannot encode, instead of failing there."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def open_closed_streams() -> None:
    """Let standard input, output and error that are closed lead nowhere.

    Otherwise Python has no stream there, and a file that is opened later would get the number of standard output.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
    sys.stdin = sys.stdin or os.fdopen(0, "r", closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def printable(text: str) -> str:
    """Text on one line: line ends, control and format characters, which a file may hold, are written as escapes."""
    if text.isprintable():
        return text
    return "".join(one.encode("unicode_escape").decode() if _is_hidden(one) else one for one in text)


def say(*lines: str, err: bool = False, file: TextIO | None = None) -> None:
    """Print lines of text, at once, to standard output, standard error or another stream."""
    stream = file or (sys.stderr if err else sys.stdout)
    for line in lines:
        print(printable(line), file=stream, flush=True)


def print_json(value: Any, indent: int | None = 2) -> None:
    """Print JSON to standard output, hidden characters as escapes; all that are not ASCII where it cannot take one."""
    import json

    text = _escaped_json(json.dumps(value, indent=indent, ensure_ascii=False))
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = _escaped_json(json.dumps(value, indent=indent))
    print(text, flush=True)  # a reader of the pipe waits for each


def reader_gone() -> bool:
    """Whether standard output is a pipe that nobody reads any more. False where the system cannot tell."""
    if not hasattr(select, "poll"):
        return False
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)  # errors are reported unasked
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (OSError, ValueError):  # no file, or a closed one
        return False


def _is_hidden(one: str) -> bool:
    return category(one) in _CONTROL and one not in _JOINERS


def _escaped_json(text: str) -> str:
    """The same JSON: such characters are in its strings only, but for the line ends that indent it."""
    return re.sub(r"[^\n -~]", lambda found: _unit(found[0]) if _is_hidden(found[0]) else found[0], text)


def _unit(one: str) -> str:
    """A character as JSON escapes it, by its UTF-16 units."""
    units = one.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
