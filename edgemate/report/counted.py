"""What a profile counts and estimates, as the tables of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_SCOPES = {"prefix": "", "segments": ", as segments"}


def count_tables(counts: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the page shows of the counts in a profile's JSON; None for a bundle, whose network is not counted.

    Returns:
        `precisions` of the weights; `rows`, one per exit and, if there are several exits, per segment; `uncounted`,
        one text per kind of operator without MACs; `floors`, one table per device; see `floor_table`.
    """
    if counts is None:
        return None
    exits, segments = counts["exits"], counts["segments"]
    rows = [*exits, *(segments if len(segments) > 1 else ())]
    kinds: dict[str, list[str]] = {}
    for one in counts["uncounted"]:
        kinds.setdefault(f"{one['kind']} ({one['reason']})", []).append(f"{one['operator']} {one['times']}×")
    return {
        "precisions": list(exits[0]["weight_bytes"]),
        "rows": rows,
        "uncounted": [f"{kind}: {', '.join(operators)}" for kind, operators in kinds.items()],
        "floors": [floor_table(device, counts["estimates"]) for device in counts["devices"]],
    }


def floor_table(device: Mapping[str, Any], estimates: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The estimated latency floors of one device.

    Args:
        device: its specification as JSON values.
        estimates: those of all devices.

    Returns:
        The `device`'s name and `units`; `columns`, each of which says that it is an estimate; `rows`, one per exit,
        with the estimate of every column; `sources`, name, value, unit and source of each figure of the specification.
    """
    here = [one for one in estimates if one["device"] == device["name"]]
    found = {(one["exit"], (one["precision"], one["scope"])): one for one in here}
    precisions = list(dict.fromkeys(one["precision"] for one in here))
    columns = [(precision, scope) for precision in precisions for scope in _SCOPES]
    figures = [(f"peak {precision}", one, "FLOP/s") for precision, one in device["peak_flops"].items()]
    figures.append(("memory bandwidth", device["memory_bandwidth"], "B/s"))
    if device["on_chip_bytes"] is not None:
        figures.append(("on chip", device["on_chip_bytes"], "B"))
    return {
        "device": device["name"],
        "units": device["units"],
        "columns": [f"{precision}{_SCOPES[scope]} (estimate)" for precision, scope in columns],
        "rows": [[found[exit, column] for column in columns] for exit in sorted({one["exit"] for one in here})],
        "sources": [(name, one["value"], unit, one["source"]) for name, one, unit in figures],
    }
