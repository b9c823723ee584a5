"""Where the `edgemate` command begins: Ctrl-C ends it in one line also while its parts are imported.

Until `main` has begun, Python itself answers Ctrl-C, with a traceback. So nothing is imported before that can wait.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType


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
    try:  # noqa: SIM105  # contextlib is not imported yet
        os.write(2, b"stopped\n")
    except OSError:
        pass
    os._exit(128 + signal.SIGINT)
