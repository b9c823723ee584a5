"""One training of a comparison, in a process that ends when the one that started it does.

    python -m edgemate.comparison.worker RECIPE RUN [FOLDER ...]

FOLDERs are where the modules of dotted paths are searched, since the recipe is not where the user wrote it.

Otherwise the training would continue by itself after a kill, and the next comparison would write into the same run.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from pathlib import Path


def main() -> None:
    """Train the recipe of the first argument into the run folder of the second, resuming it if it exists.

    What the training prints goes to standard output, its error as one line to standard error, with exit code 2, or
    `DIVERGED` where the loss was not finite.
    Standard input must be a pipe that only the parent holds open.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    recipe, run, *folders = sys.argv[1:]
    # The run's environment keeps the command that does the same by hand.
    sys.argv = ["edgemate", "train", recipe, "--output", run, "--resume"]
    _train(Path(recipe), Path(run), [Path(folder) for folder in folders])


def _train(recipe: Path, run: Path, folders: list[Path]) -> None:
    from rich.console import Console

    from edgemate.comparison.running import DIVERGED
    from edgemate.config import load_recipe
    from edgemate.errors import DivergedError, EdgemateError
    from edgemate.stopping import INTERRUPTED, TERMINATED, not_lost, terminable, terminated
    from edgemate.training import train

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a character that the log's encoding lacks stops no training
    # Literal text, and no line wrapped: what is printed goes to a file.
    console = Console(markup=False, emoji=False, highlight=False, width=100_000)
    try:
        with terminable(), not_lost():
            train(load_recipe(recipe, folders=folders), run, resume=True, console=console)
    except EdgemateError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(DIVERGED if isinstance(error, DivergedError) else 2)
    except KeyboardInterrupt:
        print("terminated" if terminated() else "stopped", file=sys.stderr)
        sys.exit(TERMINATED if terminated() else INTERRUPTED)


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
