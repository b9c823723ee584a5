"""Reading JSON that anybody may have written: bounded in size and depth, with numbers that fit into 64 bits."""

from __future__ import annotations

import json
import math
from itertools import chain
from pathlib import Path
from typing import Any

from edgemate.limits import INTEGER, JSON_BYTES, JSON_DEPTH, Limit
from edgemate.named_files import open_named


def read_json(path: Path, limit: Limit = JSON_BYTES) -> Any:
    """The value in a JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not valid JSON, is larger or nested deeper than the limits, or has a number that is not finite
            or an integer beyond 64 bits; one line.
    """
    with open_named(path) as source:
        content = source.read(limit.most + 1)
    if len(content) > limit.most:
        raise ValueError(limit.exceeded())
    return parse_json(content)


def parse_json(content: bytes | str) -> Any:
    """The value of JSON text. Raises ValueError as `read_json` does."""
    text = content if isinstance(content, str) else content.decode()  # json itself would let surrogates pass
    try:
        value = json.loads(text, parse_int=_integer, parse_float=_number, parse_constant=_constant)
    except RecursionError:
        raise ValueError(JSON_DEPTH.exceeded()) from None
    _check_depth(value)
    if "\\u" in text:
        _check_text(value)
    return value


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level := [node for node in level if isinstance(node, (dict, list))]:
        depth += 1
        if depth > JSON_DEPTH.most:
            raise ValueError(JSON_DEPTH.exceeded())
        level = list(chain.from_iterable(node.values() if isinstance(node, dict) else node for node in level))


def _check_text(value: Any) -> None:
    """Raise ValueError for half of a surrogate pair, which only an escape can write and no terminal can print."""
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            if any("\ud800" <= character <= "\udfff" for character in node):
                raise ValueError(f"{node[:20]!r} is not valid text")
        elif isinstance(node, dict):
            waiting += [*node, *node.values()]
        elif isinstance(node, list):
            waiting += node


def _integer(text: str) -> int:
    # Python itself refuses only integers of more than 4,300 digits, and a float holds none of more than 308.
    if len(text) > 20 or abs(int(text)) > INTEGER.most:
        raise ValueError(f"the integer {text[:20]}{'…' * (len(text) > 20)} is out of range; at most {INTEGER.most}")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is out of range")
    return value


def _constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")
