"""What all charts of the pages share: colors, marks, axes, and the form that the page's script draws."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bokeh.embed import json_item
from bokeh.models import BasicTickFormatter, ColumnDataSource, HoverTool, NumeralTickFormatter, Range1d
from bokeh.plotting import figure

from edgemate.core.accuracy_axis import accuracy_limits

# Okabe and Ito's colors, which people with any color vision tell apart, without those that are pale on white.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d1f", "#7a7a7a")
MARKERS = ("circle", "square", "triangle", "diamond", "inverted_triangle", "hex", "plus", "x")
DASHES = ("solid", "dashed", "dotdash", "dotted")

Item = dict[str, Any]


def color_of(number: int) -> str:
    """The color of line `number`, counted from 0."""
    return COLORS[number % len(COLORS)]


def marker_of(number: int) -> str:
    """The marker of series `number`, counted from 0."""
    return MARKERS[number % len(MARKERS)]


def dash_of(number: int) -> str:
    """The dashes of line `number`, counted from 0."""
    return DASHES[number % len(DASHES)]


def tag_color(renderer: Any, number: int) -> Any:
    """Say which color a renderer has, so that the page's script can give it that of the theme."""
    renderer.tags = [f"series-{number % len(COLORS)}"]
    return renderer


def new_figure(x: str, y: str, height: int = 430) -> Any:
    """An empty figure as wide as its place, without tools that would take the drag of a finger that scrolls."""
    plot = figure(
        sizing_mode="stretch_width", height=height, tools="", toolbar_location=None, background_fill_color=None
    )
    plot.border_fill_color = None
    plot.outline_line_color = None
    plot.xaxis.axis_label, plot.yaxis.axis_label = x, y
    for axis in (*plot.xaxis, *plot.yaxis):
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = axis.major_label_text_font_size = "13px"
        axis.minor_tick_line_color = None
    plot.grid.grid_line_alpha = 0.5
    return plot


def accuracy_figure(
    title: str,
    unit: tuple[float, str],
    costs: Sequence[float],
    accuracies: Iterable[float],
    accuracy_title: str = "top-1 accuracy",
) -> Any:
    """A figure of accuracy against cost, whose axes are those of the data: costs from 0, accuracies at most 1."""
    scale, prefix = unit
    plot = new_figure(f"{title}{f', {prefix}' if prefix else ''}", accuracy_title)
    low, high = accuracy_limits(accuracies)
    plot.x_range, plot.y_range = span(0, 1.06 * max(costs) / scale), span(low, high)
    plot.yaxis.formatter = NumeralTickFormatter(format="0.[00] %")
    plot.xaxis.formatter = BasicTickFormatter(use_scientific=False)
    return plot


def span(start: float, end: float) -> Any:
    """A fixed range of an axis."""
    return Range1d(start=start, end=end)


def add_here(plot: Any, number: int) -> None:
    """The marker that the page's script moves; its source is called `here-0`, `here-1`, …."""
    source = ColumnDataSource({"x": [], "y": []}, name=f"here-{number}")
    style = {
        "size": 17,
        "marker": "circle_cross",
        "fill_alpha": 0.25,
        "fill_color": color_of(number),
        "line_width": 2.5,
    }
    tag_color(plot.scatter("x", "y", source=source, name="here", **style), number)


def add_hover(plot: Any) -> None:
    """Show the label and numbers of the point under the pointer."""
    named = [one for one in plot.renderers if "label" in one.data_source.data and one.name != "ink"]
    plot.add_tools(HoverTool(tooltips=[("", "@label"), ("", "@y{0.00 %} at @x{0.[0000]}")], renderers=named))


def as_item(plot: Any) -> Item:
    """What `Bokeh.embed.embed_item` draws, as JSON values."""
    return dict(json_item(plot))


def macs_unit(costs: Sequence[float]) -> tuple[float, str]:
    """The unit that an axis of these MACs is labeled in, and its prefix: 4e8 are 400 M."""
    for unit, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if max(costs) >= 2 * unit:
            return unit, prefix
    return 1.0, ""


def plain(text: str) -> str:
    """Text without the marks that Bokeh reads as a formula."""
    return text.replace("$$", "$ $").replace("\\(", "(").replace("\\[", "[")
