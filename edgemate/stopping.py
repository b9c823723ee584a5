"""SIGTERM as Ctrl-C: what cleans up after the one cleans up after the other."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

INTERRUPTED, TERMINATED = 130, 143
"""Exit codes after SIGINT and SIGTERM: 128 and the number of the signal."""

_terminated = False


class Terminated(KeyboardInterrupt):
    """SIGTERM has come."""


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Raise `Terminated` in the main thread when SIGTERM comes in this block.

    SIGINT stays as it is: a shell starts a command in the background with SIGINT ignored, and so does Python then.
    Processes that this one has forked end at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    global _terminated
    _terminated = False
    process = os.getpid()

    def terminate(number: int, frame: FrameType | None) -> None:
        global _terminated
        if os.getpid() != process:
            os._exit(TERMINATED)
        _terminated = True
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def terminated() -> bool:
    """Whether SIGTERM has come, even if a library has made another exception of it."""
    return _terminated
