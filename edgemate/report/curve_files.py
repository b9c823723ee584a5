"""The curves as CSV and as JSON: every point that the charts draw, bounds included."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from edgemate.report.curves import Axis
from edgemate.report.sheet import Sheet

UNITS: dict[Axis, str] = {"macs": "MACs", "ms": "ms", "mj": "mJ"}
BOUNDS = ("random", "oracle")
COLUMNS = ("name", "split", "data", "images", "series", "label", "accuracy", "cost", "unit", "bound", "provenance")


def curve_rows(sheets: Sequence[Sheet]) -> Iterator[dict[str, Any]]:
    """A row per point: accuracy in [0, 1] with the images that it is of, mean cost per image, whether it is a bound."""
    for sheet in sheets:
        for axis, curves in sheet.curves.items():
            for series, marks in vars(curves).items():
                for mark in marks:
                    yield {
                        "name": sheet.subject.name,
                        "split": sheet.subject.split,
                        "data": sheet.subject.data,
                        "images": sheet.subject.images if mark.images is None else mark.images,
                        "series": series,
                        "label": mark.label,
                        "accuracy": mark.accuracy,
                        "cost": mark.cost,
                        "unit": UNITS[axis],
                        "bound": series in BOUNDS,
                        "provenance": "measured" if series == "measured" else "simulated",
                    }


def curves_csv(sheets: Sequence[Sheet]) -> str:
    """The rows as CSV, a header first."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(curve_rows(sheets))
    return text.getvalue()


def curves_json(sheets: Sequence[Sheet]) -> dict[str, Any]:
    """The rows as JSON values."""
    return {"points": list(curve_rows(sheets))}
