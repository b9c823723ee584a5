"""A console whose text is what it says: control characters in what is printed are written as escapes."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgemate.cli.screen import printable


class EscapingConsole(Console):
    """`out` and `print` escape every string; a line end in one too, so a line is printed by one call."""

    def out(self, *objects: Any, **options: Any) -> None:
        """Print plain text on one line."""
        super().out(*(printable(str(one)) for one in objects), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print text, or something that draws itself from text that was escaped."""
        super().print(*(printable(one) if isinstance(one, str) else one for one in objects), **options)


def escape_table(table: Table) -> None:
    """Escape the title, headers and cells of a table."""
    table.title = _escaped(table.title)
    table.caption = _escaped(table.caption)
    for column in table.columns:
        column.header = _escaped(column.header)
        column._cells[:] = map(_escaped, column.cells)


def _escaped(cell: Any) -> Any:
    if isinstance(cell, str):
        return printable(cell)
    if isinstance(cell, Text) and printable(cell.plain) != cell.plain:
        return Text(printable(cell.plain), cell.style)
    return cell
