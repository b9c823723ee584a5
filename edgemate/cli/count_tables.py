"""Tables of what is counted: bytes, layers, uncounted operators, and estimated latency floors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgemate.cli.console import print_table
from edgemate.wording import counted, least_milliseconds

if TYPE_CHECKING:
    from rich.console import Console

    from edgemate.profiling.counts import Count, Counts

_SHOWN = 20
"""Layers that the table shows."""


def print_counts(counts: Counts, names: Sequence[str], console: Console) -> None:
    """Print the bytes of exits and segments, layers if they were asked for, estimates, and uncounted operators.

    Args:
        counts: what was counted.
        names: per exit the name of its cut point.
        console: what to print on.
    """
    from rich.table import Table

    table = Table(title="bytes for one image; activations in fp32, weights as exported", title_justify="left")
    table.add_column("exit")
    for column in ("activations moved", "peak", "weights fp32", "fp16", "int8"):
        table.add_column(column, justify="right")
    for count in (*counts.exits, *(counts.segments if len(counts.segments) > 1 else ())):
        of = "" if count.scope == "prefix" else "segment "
        table.add_row(f"{of}{count.exit} {names[count.exit - 1]}", *_bytes(count))
    print_table(table, console)
    if counts.list_layers:
        _print_layers(counts, console)
    _print_estimates(counts, names, console)
    kinds: dict[str, list[str]] = {}
    for one in counts.uncounted:
        kinds.setdefault(f"{one['kind']} ({one['reason']})", []).append(f"{one['operator']} {one['times']}×")
    for kind, operators in kinds.items():
        console.out(f"not in the MACs: {kind}: {', '.join(operators)}")


def count_files(counts: Counts, folder: Path) -> list[Path]:
    """The files beside `profile.json` that the counts are written to."""
    from edgemate.profiling.counts import LAYERS_FILE, ROOFLINE_FILE

    return [
        *([folder / LAYERS_FILE] if counts.list_layers else []),
        *([folder / ROOFLINE_FILE] if counts.estimates else []),
    ]


def _bytes(count: Count) -> list[str]:
    from edgemate.cli.figures import engineering

    values = (count.activation_bytes, count.peak_activation_bytes, *count.weight_bytes.values())
    return [engineering(value, "B") for value in values]


def _print_layers(counts: Counts, console: Console) -> None:
    from rich.table import Table

    from edgemate.cli.figures import engineering, percent
    from edgemate.profiling.counts import LAYERS_FILE

    total = sum(layer.macs for layer in counts.layers) or 1
    most = sorted(counts.layers, key=lambda layer: -layer.macs)[:_SHOWN]
    title = f"layers with the most MACs, in the order in which they run; {len(most)} of {len(counts.layers)}"
    table = Table(title=title, title_justify="left")
    table.add_column("layer", overflow="fold")
    table.add_column("type")
    table.add_column("exit")
    for column in ("output", "MACs", "share", "parameters", "activations"):
        table.add_column(column, justify="right")
    for layer in (layer for layer in counts.layers if layer in most):
        table.add_row(
            layer.path,
            layer.type,
            f"{layer.exit} {layer.part}",
            "×".join(map(str, layer.output_shape)),
            engineering(layer.macs),
            percent(layer.macs / total),
            engineering(layer.parameters),
            engineering(layer.activation_bytes(), "B"),
        )
    print_table(table, console)
    if rest := len(counts.layers) - len(most):
        share = percent(1 - sum(layer.macs for layer in most) / total)
        console.out(f"{counted(rest, 'other layer')}, with {share} of the MACs, only in {LAYERS_FILE}")


def _print_estimates(counts: Counts, names: Sequence[str], console: Console) -> None:
    from rich.table import Table

    for device in counts.devices:
        title = f"ESTIMATE, not measured: least possible ms at batch 1 on {device.name}"
        table = Table(title=title, title_justify="left")
        table.add_column("exit")
        floors = [estimate for estimate in counts.estimates if estimate.device == device.name]
        precisions = list(dict.fromkeys(floor.precision for floor in floors))
        for precision in precisions:
            for scope in ("", ", as segments"):
                table.add_column(f"{precision}{scope} (estimate)", justify="right")
        found = {(floor.exit, floor.precision, floor.scope): floor for floor in floors}
        for exit, name in enumerate(names, 1):
            cells = (found[exit, precision, scope] for precision in precisions for scope in ("prefix", "segments"))
            shown = (f"≥ {least_milliseconds(floor.floor_ms)} {floor.bound}" for floor in cells)
            table.add_row(f"{exit} {name}", *shown)
        print_table(table, console)
        if device.units:
            console.out(f"{device.name}: {device.units}")
