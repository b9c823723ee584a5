"""Which signals end a server."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

from edgemate.serving.signals import Stop


@pytest.mark.parametrize("ignored", [False, True])
def test_a_sigint_that_is_ignored_stays_so_and_a_second_signal_does_not_wait(ignored: bool) -> None:
    async def run() -> list[tuple[bool, list[int]]]:
        seen, ended = [], list[int]()
        with Stop(ended.append) as stop:
            for number in (signal.SIGINT, signal.SIGTERM):
                os.kill(os.getpid(), number)
                await asyncio.sleep(0.01)
                seen.append((stop.asked.is_set(), list(ended)))
        return seen

    handlers: Any = signal.SIG_IGN if ignored else signal.default_int_handler
    before = signal.signal(signal.SIGINT, handlers)
    try:
        expected = [(False, []), (True, [])] if ignored else [(True, []), (True, [143])]
        assert asyncio.run(run()) == expected
        assert signal.getsignal(signal.SIGINT) is handlers
    finally:
        signal.signal(signal.SIGINT, before)
