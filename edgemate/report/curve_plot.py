"""The curves as an image for documents: the charts of the page, drawn with matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

from edgemate.core.accuracy_axis import accuracy_limits
from edgemate.core.plot_text import literal, quiet_glyphs
from edgemate.profiling.scored_images import source_of
from edgemate.report.curves import AXES, Axis, Curves, Mark
from edgemate.report.sheet import Sheet
from edgemate.report.subject import Subject, accuracy_title
from edgemate.wording import counted

# Okabe and Ito's colors, as on the page, without those that are pale on white.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d1f", "#7a7a7a")

_TITLES: dict[Axis, str] = {
    "macs": "mean MACs per image",
    "ms": "mean latency per image, ms",
    "mj": "mean energy per image, mJ",
}
_STYLES: dict[str, dict[str, Any]] = {
    "oracle": {"linestyle": ":", "marker": ".", "linewidth": 1.3, "label": "oracle exit (upper bound, simulated)"},
    "random": {"linestyle": "--", "marker": ".", "linewidth": 1.3, "label": "random exit (lower bound, simulated)"},
    "front": {"drawstyle": "steps-post", "linewidth": 5, "alpha": 0.25, "label": "Pareto front"},
    "swept": {"marker": ".", "markersize": 3, "linewidth": 0.8, "alpha": 0.6, "label": "one threshold, swept"},
    "budgeted": {"marker": "o", "markersize": 3, "linewidth": 1.8, "label": "thresholds solved for each budget"},
    "measured": {"linestyle": "", "marker": "^", "markerfacecolor": "none", "label": "measured with early exit"},
    "exits": {"linestyle": "", "marker": "D", "markersize": 6, "label": "always the same exit"},
    "operating_points": {"linestyle": "", "marker": "s", "markersize": 6, "label": "operating point"},
    "full": {"linestyle": "", "marker": "*", "markersize": 13, "label": "plain network"},
}
_NAMED = ("exits", "operating_points", "full")


def curves_image(sheets: Sequence[Sheet], kind: Literal["png", "svg"]) -> bytes:
    """Accuracy against every cost that all subjects have, beside each other, all subjects overlaid."""
    axes_shown = [axis for axis in AXES if all(axis in sheet.curves for sheet in sheets)]
    figure = Figure(figsize=(5.6 * len(axes_shown), 5.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, axis in zip(figure.subplots(1, len(axes_shown), squeeze=False)[0], axes_shown, strict=True):
        _draw_axis(axes, axis, sheets)
    handles = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    figure.suptitle(literal(", ".join(_title(sheet.subject) for sheet in sheets)), fontsize=10)
    content = io.BytesIO()
    metadata = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}[kind]
    with rc_context({"svg.hashsalt": "edgemate", "svg.fonttype": "path"}), quiet_glyphs():  # the same file every time
        figure.savefig(content, format=kind, metadata=metadata)
    return content.getvalue()


def _title(subject: Subject) -> str:
    return f"{subject.name} ({counted(subject.images, 'image')} of {source_of(subject.split)})"


def _draw_axis(axes: Axes, axis: Axis, sheets: Sequence[Sheet]) -> None:
    for number, sheet in enumerate(sheets):
        curves, color = sheet.curves[axis], COLORS[number % len(COLORS)]
        for series, style in _STYLES.items():
            marks: list[Mark] = getattr(curves, series)
            if marks:
                own = style if number == 0 else {**style, "label": None}
                # Not clipped, since a marker at 100 % is on the upper end of the axis.
                axes.plot([m.cost for m in marks], [m.accuracy for m in marks], color=color, clip_on=False, **own)
        _name(axes, curves)
        if len(sheets) > 1:
            axes.plot([], [], color=color, linewidth=4, label=literal(sheet.subject.name))
    axes.set_xlabel(_TITLES[axis])
    axes.set_ylabel(accuracy_title([sheet.subject for sheet in sheets]))
    if axis == "macs":  # thousands of milliseconds have no prefix, and half of one is not 500 m
        axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.08)
    axes.set_xlim(left=0)
    axes.set_ylim(accuracy_limits(mark.accuracy for sheet in sheets for mark in sheet.curves[axis].marks()))


def _name(axes: Axes, curves: Curves) -> None:
    for series in _NAMED:
        for number, mark in enumerate(getattr(curves, series)):
            above = series == "operating_points" and number % 2 == 0
            axes.annotate(
                literal(mark.label),
                (mark.cost, mark.accuracy),
                xytext=(-6, 5) if above else (6, -6),
                textcoords="offset points",
                ha="right" if above else "left",
                va="bottom" if above else "top",
                fontsize=8,
            )
