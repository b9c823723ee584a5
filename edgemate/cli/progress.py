"""What a long command is doing, on standard error."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from edgemate.cli.console import make_console


@contextlib.contextmanager
def showing_steps() -> Iterator[Callable[[str], None]]:
    """Give a function that shows the current step and how long the command has run.

    The line moves only when a step is told: a thread that redrew it would disturb what is being timed.
    """
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    columns = (TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    console = make_console(stderr=True)
    with Progress(
        *columns, console=console, auto_refresh=False, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("starting")

        def tell(step: str) -> None:
            progress.update(task, description=step, refresh=True)

        yield tell
