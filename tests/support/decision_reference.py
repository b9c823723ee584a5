"""The arithmetic of decision.cu in numpy: the same numbers are added in the same order, in float32."""

from __future__ import annotations

import numpy as np

THREADS = 128
SCORES = ("confidence", "entropy", "margin", "patience")


def decide(logits: np.ndarray, rules: np.ndarray, header: np.ndarray, exit: int, exits: int) -> tuple[bool, bool]:
    """Whether the image stops at `exit`, and whether the condition is set. `header` is the answer's, int32 `(4,)`."""
    last = exit == exits
    if exit == 1:
        header[1:] = (0, -1, 0)
    stop = last
    if not last and not np.isfinite(logits).all():
        header[1:] = (header[1] + 1, -1, 0)
    elif not last:
        rule = rules[exit - 1]
        scaled = logits / rule["temperature"]
        place = int(scaled.argmax())
        header[3] = header[3] + 1 if place == header[2] else 0
        header[2] = place
        stop = bool(_passes(scaled, rule, int(header[3])))
    if stop:
        header[0] = exit
    return stop, not last


def score(scaled: np.ndarray, name: str) -> np.float32:
    """Of float32 `(C,)`."""
    top, second = np.float32(scaled.max()), np.float32(np.sort(np.append(scaled, -np.inf))[-2])
    shifted = scaled - top
    exponentials = np.exp(shifted)
    total = _added(exponentials)
    one = np.float32(1)
    if name == "confidence":
        return one / total
    if name == "entropy":
        return max(np.log(total) - _added(exponentials * shifted) / total, np.float32(0))
    return one / total - np.exp(second - top) / total


def _passes(scaled: np.ndarray, rule: np.void, agreed: int) -> bool:
    name = SCORES[rule["score"]]
    if name == "patience":
        return agreed >= rule["threshold"]
    found = score(scaled, name)
    return found < rule["threshold"] if name == "entropy" else found > rule["threshold"]


def _added(values: np.ndarray) -> np.float32:
    parts = np.zeros(THREADS, np.float32)
    for start in range(0, len(values), THREADS):
        row = values[start : start + THREADS]
        parts[: len(row)] += row
    half = THREADS // 2
    while half:
        parts[:half] += parts[half : 2 * half]
        half //= 2
    return parts[0]
