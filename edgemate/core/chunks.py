"""Passes over the logits of a split in chunks of images, so that memory does not grow with the split.

Logits may be an array in memory or one that is mapped from a file, in float16, float32 or float64. Mapped pages that a
pass has read are given back to the operating system after each chunk: they stay in its cache of the file, but do not
add up in this process.
"""

from __future__ import annotations

import mmap
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Result = TypeVar("Result")

CHUNK_BYTES = 4 << 20
"""Of one chunk in float32. A few of them fit into a processor's cache, and the calls on them cost nothing beside it."""
TAKEN_AT_ONCE = 256
"""Rows. Reading one maps some hundred kilobytes around it."""
THREADS = 4
"""At most; more only share the same memory bandwidth."""


def chunk_slices(rows: int, numbers_each: int) -> list[slice]:
    """Slices that cover `rows` images of `numbers_each` numbers each, in order."""
    size = max(CHUNK_BYTES // (4 * max(numbers_each, 1)), 1)
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def map_chunks(function: Callable[[Array, slice], Result], logits: Array) -> Iterator[tuple[slice, Result]]:
    """Call a function on every chunk of some logits, on several cores, and give its results in order.

    Args:
        function: gets the logits of a chunk, `(n, ...)`, and which rows they are. float16 arrives as float32.
        logits: `(N, ...)`.
    """
    slices = chunk_slices(len(logits), int(np.prod(logits.shape[1:])))

    def call(rows: slice) -> Result:
        given = logits[rows]
        return function(given.astype(np.float32) if given.dtype == np.float16 else np.asarray(given), rows)

    threads = min(len(slices), THREADS, _cores())
    if threads < 2:
        for rows in slices:
            yield rows, call(rows)
            release(logits)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[slice, Future[Result]]] = deque()
        for rows in slices:
            waiting.append((rows, pool.submit(call, rows)))
            if len(waiting) > 2 * threads:
                done, future = waiting.popleft()
                yield done, future.result()
                release(logits)
        for done, future in waiting:
            yield done, future.result()
    release(logits)


def take_rows(logits: Array, rows: npt.NDArray[np.intp]) -> Array:
    """The logits of the images at indices `rows`, in memory. Of a mapped file no more than a few pages stay mapped."""
    found = np.empty((len(rows), *logits.shape[1:]), dtype=logits.dtype)
    for start in range(0, len(rows), TAKEN_AT_ONCE):
        part = slice(start, start + TAKEN_AT_ONCE)
        found[part] = logits[rows[part]]
        release(logits)
    return found


def release(array: Array) -> None:
    """Give mapped pages back to the operating system; nothing for an array in memory. Its content stays readable."""
    base: Any = array
    while isinstance(base, (np.ndarray, memoryview)):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
