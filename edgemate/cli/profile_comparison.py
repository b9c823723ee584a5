"""The table of `edgemate profile --compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgemate.cli.console import make_console, print_table
from edgemate.cli.figures import engineering, milliseconds, percent
from edgemate.wording import counted, shortened

if TYPE_CHECKING:
    from edgemate.profiling.comparing import Comparison, Difference


def print_comparison(compared: Comparison) -> None:
    """Print what got worse and what got better, or that nothing did."""
    from rich.table import Table

    console = make_console()
    shown = (*compared.worse, *compared.better)
    if shown:
        table = Table(title=f"{shortened(compared.run)} against {shortened(compared.baseline)}", title_justify="left")
        for column in ("", "exit", "batch", "figure"):
            table.add_column(column)
        for column in ("baseline", "now", "change"):
            table.add_column(column, justify="right")
        for one in shown:
            batch = "" if one.batch is None else str(one.batch)
            values = (_value(one, one.baseline), _value(one, one.value), _change(one))
            table.add_row(one.verdict, str(one.exit), batch, one.figure, *values)
        print_table(table, console)
    points = counted(100 * compared.accuracy_tolerance, "point")
    limits = f"{100 * compared.tolerance:g} % ({points} of accuracy)"
    console.out(
        f"{counted(len(compared.differences), 'figure')} compared: {len(compared.worse)} worse, {len(compared.better)} "
        f"better beyond noise and {limits}"
    )
    for note in compared.notes:
        console.out(f"note: {shortened(note, 1_000)}")


def _value(one: Difference, value: float) -> str:
    if one.figure == "accuracy":
        return percent(value)
    return milliseconds(value) if one.figure.endswith((", ms", ", mJ")) else engineering(value)


def _change(one: Difference) -> str:
    return f"{100 * one.change:+.1f} points" if one.figure == "accuracy" else f"{100 * one.change:+.1f} %"
