"""Mutations of JSON values, and of the text that they are written as."""

from __future__ import annotations

import copy
import json
import math
from random import Random
from typing import Any

Tree = Any
Place = tuple[Any, Any]  # a container and a key or index in it

NUMBERS = [
    0,
    1,
    -1,
    2,
    3,
    7,
    255,
    2**31,
    2**63,
    -(2**63),
    10**18,
    10**400,
    0.5,
    -0.0,
    1e-320,
    1e308,
    math.inf,
    math.nan,
]
TEXTS = [
    "",
    "a",
    "image",
    "logits_1",
    "..",
    "../x",
    "/etc/passwd",
    "C:/x",
    "a\0b",
    "\x1b[31mred\x1b[0m",
    "two\nlines",
    "\ud800",
    "é" * 300,
    "x" * 100_000,
    "os.path:sep",
    "..:x",
    "os:system",
    "2024-02-30",
    "nan",
    "1e999",
    "9" * 5000,
]


def mutate(tree: Tree, random: Random) -> Tree:
    """A copy with one to four changes."""
    changed = [copy.deepcopy(tree)]
    for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
        places = list(_places(changed))
        if not places:
            break
        holder, key = random.choice(places)
        random.choice((_replace, _replace, _replace, _drop, _add, _repeat, _swap, _nest))(holder, key, places, random)
    return changed[0] if changed else None


def value(random: Random) -> Tree:
    """Anything that JSON can hold, or nearly."""
    kind = random.randrange(8)
    if kind < 3:
        return random.choice(NUMBERS)
    if kind < 5:
        return random.choice(TEXTS)
    if kind == 5:
        return random.choice([None, True, False, [], {}, [[]], [0] * 100_000, {str(i): i for i in range(20_000)}])
    if kind == 6:
        return nested(random.choice((5, 50, 200)))
    return [value(random) for _ in range(random.randrange(3))]


def nested(depth: int) -> Tree:
    """A list within a list, `depth` times."""
    inside: Tree = 1
    for i in range(depth):
        inside = [inside] if i % 2 else {"a": inside}
    return inside


def dump(tree: Tree, random: Random) -> bytes:
    """The tree as JSON, which is broken in one of ten cases."""
    content = json.dumps(tree).encode()
    return broken(content, random) if random.random() < 0.1 else content


def broken(content: bytes, random: Random) -> bytes:
    """The bytes, cut off, with some changed, or with something put in."""
    found = bytearray(content)
    kind = random.randrange(5)
    at = random.randrange(len(found) + 1)
    if kind == 0:
        return bytes(found[:at])
    if kind == 1:
        for _ in range(random.choice((1, 1, 2, 8))):
            if found:
                found[random.randrange(len(found))] = random.randrange(256)
        return bytes(found)
    if kind == 2:
        return bytes(found[:at] + random.choice((b"[" * 100_000, b"{", b"\0", b"\xff", b"9" * 5000, b'"')) + found[at:])
    if kind == 3:
        size = random.randrange(1, 64)
        return bytes(found[:at] + found[at + size :])
    return bytes(found[:at] + found[: random.randrange(1, 64)] + found[at:])


def _places(tree: Tree) -> Any:
    waiting = [tree]
    while waiting:
        here = waiting.pop()
        keys = list(here) if isinstance(here, dict) else range(len(here))
        for key in list(keys)[:200]:
            yield here, key
            if isinstance(here[key], (dict, list)):
                waiting.append(here[key])


def _replace(holder: Any, key: Any, places: list[Place], random: Random) -> None:
    old = holder[key]
    if isinstance(old, (int, float)) and not isinstance(old, bool) and random.random() < 0.5:
        holder[key] = random.choice(
            (old + 1, old - 1, -old, old * 1000, old // 2, float(max(-(2**1000), min(old, 2**1000))))
        )
    else:
        holder[key] = value(random)


def _drop(holder: Any, key: Any, places: list[Place], random: Random) -> None:
    del holder[key]


def _add(holder: Any, key: Any, places: list[Place], random: Random) -> None:
    if isinstance(holder, dict):
        holder[random.choice((*TEXTS, *map(str, holder)))] = value(random)
    else:
        holder.insert(key, value(random))


def _repeat(holder: Any, key: Any, places: list[Place], random: Random) -> None:
    if isinstance(holder, list):
        holder[key:key] = [_copied(holder[key]) for _ in range(random.choice((1, 2, 300)))]
    else:
        holder[f"{key}_"] = _copied(holder[key])


def _swap(holder: Any, key: Any, places: list[Place], random: Random) -> None:
    other, there = random.choice(places)
    holder[key] = _copied(other[there])


def _nest(holder: Any, key: Any, places: list[Place], random: Random) -> None:
    holder[key] = random.choice(([holder[key]], {"a": holder[key]}, nested(random.choice((20, 120, 400)))))


def _copied(tree: Any) -> Any:
    """A copy; a number in place of what an earlier change has nested too deeply to be copied."""
    try:
        return copy.deepcopy(tree)
    except RecursionError:
        return 0
