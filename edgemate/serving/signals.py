"""The end of a server: the first signal asks for it, the second does not wait."""

from __future__ import annotations

import asyncio
import signal


class Stop:
    """A context manager for the main thread's event loop. An ignored SIGINT stays ignored, as in a shell's background.

    Attributes:
        asked: set by the first SIGTERM or SIGINT.
        again: set by the next.
    """

    def __enter__(self) -> Stop:
        self.asked, self.again = asyncio.Event(), asyncio.Event()
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        self._before = {number: handler for number, handler in handlers.items() if handler is not signal.SIG_IGN}
        loop = asyncio.get_running_loop()
        for number in self._before:
            loop.add_signal_handler(number, self._stop)
        return self

    def __exit__(self, *given: object) -> None:
        loop = asyncio.get_running_loop()
        for number, before in self._before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL if before is None else before)

    def _stop(self) -> None:
        (self.again if self.asked.is_set() else self.asked).set()
