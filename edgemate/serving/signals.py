"""The end of a server: the first signal asks for it, the second does not wait."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable


class Stop:
    """A context manager for the main thread's event loop. An ignored SIGINT stays ignored, as in a shell's background.

    Args:
        end: called by the second SIGTERM or SIGINT with the exit code, 128 and the number of the signal. The default
            ends the process whatever its threads do.

    Attributes:
        asked: set by the first one.
    """

    def __init__(self, end: Callable[[int], object] = os._exit) -> None:
        self._end = end

    def __enter__(self) -> Stop:
        self.asked = asyncio.Event()
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        self._before = {number: handler for number, handler in handlers.items() if handler is not signal.SIG_IGN}
        loop = asyncio.get_running_loop()
        for number in self._before:
            loop.add_signal_handler(number, self._stop, number)
        return self

    def __exit__(self, *given: object) -> None:
        loop = asyncio.get_running_loop()
        for number, before in self._before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL if before is None else before)

    def _stop(self, number: int) -> None:
        if self.asked.is_set():
            self._end(128 + number)
        self.asked.set()
