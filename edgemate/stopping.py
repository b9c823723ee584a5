"""SIGTERM as Ctrl-C: what cleans up after the one cleans up after the other."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

INTERRUPTED, TERMINATED = 130, 143
"""Exit codes after SIGINT and SIGTERM: 128 and the number of the signal."""

_AGAIN_SECONDS = 0.02
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


@contextlib.contextmanager
def not_lost() -> Iterator[None]:
    """Let a Ctrl-C or SIGTERM in this block that Python drops come again, until one is heeded.

    Python drops the exceptions of a destructor and of a weak reference's callback, and those that a library in C++
    cannot pass on. A signal that comes there would be lost, and the work would go on to its end.
    """
    if not hasattr(signal, "pthread_kill"):  # on Windows
        yield
        return
    before = sys.unraisablehook
    pending: list[threading.Timer] = []

    def heed(dropped: UnraisableHookArgs) -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            before(dropped)
            return
        number = signal.SIGTERM if issubclass(dropped.exc_type, Terminated) else signal.SIGINT
        forget()  # one that is heeded is enough
        # A little later and from another thread: an exception that is raised in here is dropped too.
        again = threading.Timer(_AGAIN_SECONDS, signal.pthread_kill, (threading.main_thread().ident, number))
        again.daemon = True
        with contextlib.suppress(RuntimeError):  # no thread can start while Python ends
            again.start()
            pending.append(again)

    def forget() -> None:
        while pending:
            pending.pop().cancel()

    sys.unraisablehook = heed
    try:
        yield
    finally:
        sys.unraisablehook = before
        forget()


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
