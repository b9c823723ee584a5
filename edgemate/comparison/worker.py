"""The `edgemate` command in a process that ends when the one that started it does.

    python -m edgemate.comparison.worker train RECIPE --output RUN --resume

Else a training would go on by itself after a kill, and the next comparison would write into the same run.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading


def main() -> None:
    """Run the command that the arguments name. Standard input must be a pipe that only the parent holds open."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv[0] = "edgemate"  # the run's environment keeps the command that does the same by hand
    runpy.run_module("edgemate", run_name="__main__")


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
