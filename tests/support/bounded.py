"""Run a command with a limit on its whole time, and end everything that it started.

    python tests/support/bounded.py 45 python -m pytest -n 2

The first argument is the limit in minutes. The exit code is the command's own, or 1 where it had to be ended. A test
has a limit of its own, but only the outside can end a test run whose controller waits for a process that is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

_GRACE_SECONDS = 20


def main(arguments: Sequence[str]) -> int:
    """Run it. SIGINT and SIGTERM end it too."""
    minutes, command = float(arguments[0]), list(arguments[1:])
    # A session of its own, so that its children can be reached together.
    process = subprocess.Popen(command, start_new_session=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return process.wait(60 * minutes)
    except subprocess.TimeoutExpired:
        print(f"\nnot finished within {minutes:g} minutes, so ended: {' '.join(command)}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the whole session to end, and make it."""
    for number, seconds in ((signal.SIGINT, _GRACE_SECONDS), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
