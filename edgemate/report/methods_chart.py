"""The chart of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bokeh.models import ColumnDataSource

from edgemate.report import plotting


class ExitMark(NamedTuple):
    """An exit of a method: cost in MACs, mean accuracy and its standard deviation; None with one seed."""

    cost: float
    accuracy: float
    deviation: float | None

    @property
    def bar(self) -> tuple[float, float]:
        """The ends of the error bar; never outside of what an accuracy can be."""
        off = self.deviation or 0.0
        return max(0.0, self.accuracy - off), min(1.0, self.accuracy + off)


class MethodCurve(NamedTuple):
    """One method of a comparison.

    Attributes:
        label: the method.
        budgeted: cost in MACs and accuracy, for each budget.
        exits: one mark per exit.
    """

    label: str
    budgeted: Sequence[tuple[float, float]]
    exits: Sequence[ExitMark]


def methods_chart(methods: Sequence[MethodCurve]) -> plotting.Item:
    """The budgeted curves of all methods, and their exits with error bars: `item`, and the axis' `unit`.

    Its sources `here-0`, `here-1`, … hold the budget of each method, in units of the axis.
    """
    costs = [cost for method in methods for cost, _ in method.budgeted]
    costs += [exit.cost for method in methods for exit in method.exits]
    shown = [end for method in methods for exit in method.exits for end in exit.bar]
    shown += [accuracy for method in methods for _, accuracy in method.budgeted]
    scale, prefix = plotting.macs_unit(costs)
    plot = plotting.accuracy_figure("mean MACs per image", (scale, prefix), costs, shown)
    for number, method in enumerate(methods):
        label, color = plotting.plain(method.label), plotting.color_of(number)
        curve = {
            "x": [cost / scale for cost, _ in method.budgeted],
            "y": [accuracy for _, accuracy in method.budgeted],
            "label": [f"{label}: budgeted"] * len(method.budgeted),
        }
        dash = plotting.dash_of(number)
        line = plot.line("x", "y", source=ColumnDataSource(curve), line_color=color, line_dash=dash, line_width=2)
        exits = ColumnDataSource(
            {
                "x": [exit.cost / scale for exit in method.exits],
                "y": [exit.accuracy for exit in method.exits],
                "low": [exit.bar[0] for exit in method.exits],
                "high": [exit.bar[1] for exit in method.exits],
                "label": [f"{label}: exit {k}" for k in range(1, len(method.exits) + 1)],
            }
        )
        bars = plot.segment("x", "low", "x", "high", source=exits, line_color=color, line_width=1.5)
        dots = plot.scatter("x", "y", source=exits, marker=plotting.marker_of(number), size=10, color=color)
        for renderer in (line, bars, dots):
            plotting.tag_color(renderer, number)
        plotting.add_here(plot, number)
    plotting.add_hover(plot)
    return {"item": plotting.as_item(plot), "unit": scale}
