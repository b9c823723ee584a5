"""Which files of edgemate a call goes through."""

from __future__ import annotations

import sys
from collections.abc import Callable
from inspect import CO_NEWLOCALS, CO_VARARGS, CO_VARKEYWORDS
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import edgemate

_ROOT = f"{Path(edgemate.__file__).parent}/"


def files_called(function: Callable[[], object], carrying: tuple[type, ...] = ()) -> list[str]:
    """Files of edgemate that have a function called while `function` runs, in the order in which they are entered.

    The code of a module or of a class body, which runs where it is imported, does not count. An error ends the walk
    and is raised.

    Args:
        function: is called once, in this thread.
        carrying: count a call only where an argument or the result is an instance of one of these types, or a list or
            tuple with one. This leaves the files that a value passes through, without the helpers beside the way.
            Every call counts where it is empty.

    Returns:
        Paths relative to the package, such as `training/trainer.py`.
    """
    found: dict[str, None] = {}

    def carries(value: Any) -> bool:
        return isinstance(value, carrying) or (
            isinstance(value, (list, tuple)) and any(isinstance(item, carrying) for item in value)
        )

    def note(frame: FrameType, event: str, result: Any) -> None:
        code = frame.f_code
        if (
            event not in ("call", "return")
            or not code.co_filename.startswith(_ROOT)
            or not code.co_flags & CO_NEWLOCALS
        ):
            return
        if event == "return":
            values = [result]
        else:
            values = [frame.f_locals.get(name) for name in code.co_varnames[: _arguments(code)]]
        if not carrying or any(map(carries, values)):
            found[Path(code.co_filename).relative_to(_ROOT).as_posix()] = None

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(before)
    return list(found)


def _arguments(code: CodeType) -> int:
    """How many of a function's variables are its arguments."""
    stars = bool(code.co_flags & CO_VARARGS) + bool(code.co_flags & CO_VARKEYWORDS)
    return code.co_argcount + code.co_kwonlyargcount + stars
