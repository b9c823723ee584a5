"""What commands print tables and lines on: as plain as the place they go to asks.

Here text leaves for the terminal, so here it is escaped (`screen.printable`): names, labels and paths come from files.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# Wider than any table, and below what rich spends time on for a line of spaces.
_NO_EDGE = 100_000


def make_console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """The console of standard output or error. Every command prints on one of these.

    What is printed is literal: names may hold [brackets] and :colons:, and control characters become escapes. Where the
    stream is no terminal nothing is wrapped or styled. NO_COLOR leaves no styling at all, on a terminal too.
    A quiet one prints nothing.
    """
    from edgemate.cli.escaping_console import EscapingConsole

    return EscapingConsole(
        stderr=stderr,
        quiet=quiet,
        markup=False,
        emoji=False,
        highlight=False,
        width=None if is_screen(stderr=stderr) else _NO_EDGE,
        color_system=None if no_styles() else "auto",
    )


def is_screen(*, stderr: bool = False) -> bool:
    """Whether standard output or error is a terminal, so that lines have an edge to keep to."""
    return (sys.stderr if stderr else sys.stdout).isatty()


def no_styles() -> bool:
    """Whether NO_COLOR asks for text without styles (no-color.org: set, and not empty)."""
    return os.environ.get("NO_COLOR", "") != ""


def print_table(table: Table, console: Console) -> None:
    """Print a table with no cell cut or broken, beyond the edge of the screen if need be.

    Headers wrap between words on a terminal, and so do the cells of columns with `overflow="fold"`. The title is a line
    of its own, as rich would break it at the width of the table.
    """
    from rich.cells import cell_len
    from rich.measure import Measurement

    from edgemate.cli.escaping_console import escape_table

    escape_table(table)
    for column in table.columns:
        if column.overflow != "fold":
            header = str(column.header)
            words = [header] if column.no_wrap else header.split()
            column.min_width = max((cell_len(text) for text in (*words, *map(str, column.cells))), default=0)
            column.no_wrap = cell_len(header) <= column.min_width  # rich takes width from the widest that may wrap
    title, table.title = table.title, None
    if title is not None:
        console.print(title, style="table.title", soft_wrap=True)
    needed = Measurement.get(console, console.options.update(max_width=_NO_EDGE), table).minimum
    console.width, before = max(console.width, needed), console.width
    try:
        console.print(table, crop=False)
    finally:
        console.width = before
