"""Where the `edgemate` command begins: Ctrl-C ends it in one line also while its parts are imported."""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType

from edgemate.stopping import INTERRUPTED


def main() -> None:
    """Import the command line, which takes a moment, and run it."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # not where it is ignored, as in the background of a shell
        signal.signal(signal.SIGINT, _end)
    from edgemate.cli import main as command_line

    try:
        if before is signal.default_int_handler:
            signal.signal(signal.SIGINT, before)
        command_line.main()
    except KeyboardInterrupt:  # before the command line heeds it, or after
        _end()


def _end(number: int = signal.SIGINT, frame: FrameType | None = None) -> None:
    """At once: nothing has been begun, and an exception within an import may become another one."""
    with contextlib.suppress(OSError):
        os.write(2, b"stopped\n")
    os._exit(INTERRUPTED)
