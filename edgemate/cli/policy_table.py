"""What thresholds would do on a split, as a table."""

from __future__ import annotations

from typing import Any


def print_policy(policy: dict[str, Any]) -> None:
    """Print one `ThresholdFigures` as JSON values. Costs that are not known are left out."""
    from rich.table import Table

    from edgemate.cli.console import make_console, print_table
    from edgemate.cli.figures import engineering, fractions_of, milliseconds
    from edgemate.policies.descriptions import threshold_description
    from edgemate.wording import counted

    stops = threshold_description("confidence", policy["thresholds"])
    table = Table(title=f"stopping at {stops}: simulated on {counted(policy['images'], 'image')}", title_justify="left")
    cells = {"accuracy": f"{100 * policy['accuracy']:.2f} %"}
    for name, key, shown in (
        ("mean MACs", "mean_macs", engineering),
        ("mean ms", "mean_ms", milliseconds),
        ("p99 ms", "p99_ms", milliseconds),
        ("mean mJ", "mean_mj", milliseconds),
    ):
        if policy[key] is not None:
            cells[name] = shown(policy[key])
    cells[f"% at exits 1 to {len(policy['fractions'])}"] = fractions_of(policy["fractions"])
    for column in cells:
        table.add_column(column, justify="right", overflow="fold")
    table.add_row(*cells.values())
    console = make_console()
    print_table(table, console)
    if policy["mean_macs"] is None:
        console.out("costs are shown once the run has been profiled: edgemate profile RUN")
