"""The charts of a profile, made with Bokeh; the page's script moves the marker and sets the colors of the theme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bokeh.models import ColumnDataSource, NumeralTickFormatter

from edgemate.report import plotting
from edgemate.report.curves import Axis, Curves, Mark

_TITLES = {"macs": "mean MACs per image", "ms": "mean latency per image, ms", "mj": "mean energy per image, mJ"}
_LABELED = 4
"""With more subjects than these, exits and operating points are named on hover only."""


def tradeoff_chart(axis: Axis, subjects: Sequence[tuple[str, Curves]], accuracy_title: str) -> plotting.Item:
    """Accuracy against cost, all subjects overlaid: `item`, what `Bokeh.embed.embed_item` draws, and the axis' `unit`.

    Its sources `here-0`, `here-1`, … hold the operating point of each subject, in units of the axis.
    """
    marks = [mark for _, curves in subjects for mark in curves.marks()]
    costs = [mark.cost for mark in marks]
    scale, prefix = plotting.macs_unit(costs) if axis == "macs" else (1.0, "")
    accuracies = [mark.accuracy for mark in marks]
    plot = plotting.accuracy_figure(_TITLES[axis], (scale, prefix), costs, accuracies, accuracy_title)
    for number, (name, curves) in enumerate(subjects):
        _draw(plot, name if len(subjects) > 1 else "", curves, scale, number, labeled=len(subjects) <= _LABELED)
        plotting.add_here(plot, number)
    plotting.add_hover(plot)
    return {"item": plotting.as_item(plot), "unit": scale}


def reliability_chart(diagrams: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]) -> plotting.Item:
    """Accuracy against confidence, a line per exit.

    Args:
        diagrams: `raw` (as trained) and `scaled` (with temperatures): the bins of each exit.
    """
    plot = plotting.new_figure("confidence", "accuracy", height=340)
    plot.x_range = plot.y_range = plotting.span(0, 1)
    plot.xaxis.formatter = plot.yaxis.formatter = NumeralTickFormatter(format="0 %")
    plot.line([0, 1], [0, 1], line_dash="dashed", line_width=1, name="ink")
    for kind, exits in diagrams.items():
        for k, bins in enumerate(exits):
            source = ColumnDataSource(
                {
                    "x": [one["confidence"] for one in bins],
                    "y": [one["accuracy"] for one in bins],
                    "label": [f"exit {k + 1}: {one['images']} images" for one in bins],
                }
            )
            color = plotting.color_of(k)
            line = plot.line("x", "y", source=source, color=color, line_dash=plotting.dash_of(k), line_width=2)
            dots = plot.scatter("x", "y", source=source, color=color, marker=plotting.marker_of(k), size=8)
            plotting.tag_color(line, k).name = plotting.tag_color(dots, k).name = kind
            line.visible = dots.visible = kind == "scaled"
    plotting.add_hover(plot)
    return plotting.as_item(plot)


def _draw(plot: Any, name: str, curves: Curves, scale: float, number: int, *, labeled: bool) -> None:
    color = plotting.color_of(number)

    def source(marks: Sequence[Mark]) -> ColumnDataSource:
        prefix = f"{plotting.plain(name)}: " if name else ""
        return ColumnDataSource(
            {
                "x": [mark.cost / scale for mark in marks],
                "y": [mark.accuracy for mark in marks],
                "label": [prefix + plotting.plain(mark.label) for mark in marks],
                "short": [plotting.plain(mark.label) for mark in marks],
            }
        )

    def line(marks: Sequence[Mark], **style: Any) -> None:
        if marks:
            plotting.tag_color(plot.line("x", "y", source=source(marks), line_color=color, **style), number)

    def dots(marks: Sequence[Mark], marker: str, size: int, *, hollow: bool = False) -> ColumnDataSource:
        found = source(marks)
        if marks:
            style = {"marker": marker, "size": size, "color": color, "fill_alpha": 0.0 if hollow else 1.0}
            plotting.tag_color(plot.scatter("x", "y", source=found, **style), number)
        return found

    line(curves.oracle, line_dash="dotted", line_width=1.5)
    line(curves.random, line_dash="dashed", line_width=1.5)
    line(curves.swept, line_width=1, line_alpha=0.55)
    line(curves.budgeted, line_width=2.5)
    if curves.front:
        band = {"mode": "after", "line_color": color, "line_alpha": 0.3, "line_width": 6}
        plotting.tag_color(plot.step("x", "y", source=source(curves.front), **band), number)
    dots(curves.oracle, "dot", 12)
    dots(curves.random, "dot", 12)
    dots(curves.swept, "circle", 3)
    dots(curves.budgeted, "circle", 5)
    dots(curves.measured, "triangle", 7, hollow=True)
    exits = dots(curves.exits, "diamond", 13)
    # Names alternate between both sides of the curve, since operating points are close together.
    upper = dots(curves.operating_points[::2], "square", 9)
    lower = dots(curves.operating_points[1::2], "square", 9)
    full = dots(curves.full, "star", 18)
    if labeled:
        _name(plot, exits, "center", "top", 0, 9)
        _name(plot, upper, "right", "bottom", -9, -5)
        _name(plot, lower, "left", "top", 9, 5)
        _name(plot, full, "center", "top", 0, 11)


def _name(plot: Any, source: ColumnDataSource, align: str, baseline: str, x: int, y: int) -> None:
    style = {"text_align": align, "text_baseline": baseline, "x_offset": x, "y_offset": y, "text_font_size": "12px"}
    plot.text("x", "y", text="short", source=source, name="ink", **style)
