"""Memory that a training on a CPU frees and takes again in every step."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# malloc.h of glibc. With `mmap_max` 0 no block is mapped by itself, and `trim_threshold` is what may stay free at the
# heap's end.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_LARGEST = 2**31 - 1
_DEFAULT_TRIM, _DEFAULT_MMAPS = 128 * 1024, 65536


@contextmanager
def freed_memory_kept(device: torch.device) -> Iterator[bool]:
    """Within it, glibc keeps the memory that this process frees, up to 2 GiB of it, if the device is a CPU.

    A step's activations are blocks of megabytes, which glibc maps from the kernel and gives back each time, and which
    the kernel fills with zeros, page by page. At the end the free memory is given back.

    Yields:
        Whether it is kept: other C libraries have no such switch.
    """
    mallopt = _function("mallopt") if device.type == "cpu" else None
    kept = mallopt is not None and bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _LARGEST))
    try:
        yield kept
    finally:
        if mallopt is not None:
            mallopt(_M_MMAP_MAX, _DEFAULT_MMAPS)
            mallopt(_M_TRIM_THRESHOLD, _DEFAULT_TRIM)
            trim = _function("malloc_trim")
            if trim is not None:
                trim(0)


def _function(name: str) -> ctypes._NamedFuncPointer | None:
    """A function of the C library; None where it has none of that name."""
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), name, None)
