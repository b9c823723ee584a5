"""SIGTERM as Ctrl-C: what cleans up after the one cleans up after the other."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

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


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C in this block be a KeyboardInterrupt, whatever a library that is being imported makes of it."""
    own = threading.current_thread() is threading.main_thread()
    if not own or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception:
        if interrupted:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class StopRequest:
    """Whether a stop was asked for; see `on_request`."""

    def __init__(self) -> None:
        self.stopped = False

    def __call__(self) -> bool:
        """Whether it was."""
        return self.stopped


@contextlib.contextmanager
def on_request() -> Iterator[StopRequest]:
    """Let the first SIGINT or SIGTERM in this block be a request, which is looked at when it suits.

    It is for work that has no end of its own, so that a stop finds nothing half done. A second signal is what it is
    outside of the block. A SIGINT that is ignored stays ignored. In another thread than the main one nothing is asked.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before: dict[int, Any] = {}

    def ask(number: int, frame: FrameType | None) -> None:
        if not request.stopped:
            request.stopped = True
        elif callable(before[number]):
            before[number](number, frame)
        else:
            raise Terminated

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, ask)
    try:
        yield request
    finally:
        for changed, handler in before.items():
            signal.signal(changed, signal.SIG_DFL if handler is None else handler)


def terminated() -> bool:
    """Whether SIGTERM has come, even if a library has made another exception of it."""
    return _terminated
