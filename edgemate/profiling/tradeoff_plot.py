"""The plot of the trade-off curves."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

from edgemate.core.accuracy_axis import accuracy_limits
from edgemate.profiling.efficient import cost_of, efficient_thresholds
from edgemate.profiling.profile_result import Curve, Kind, Point, Profile
from edgemate.wording import counted

CURVE = "#1f5fa8"
SWEEP = "#b3c8e2"
EXITS = "#5b6570"
FULL = "#c8372d"
POINTS = ("#e08a00", "#2e8b57", "#7b4fa3", "#b0457b", "#3b8ea5")


def tradeoff_png(profile: Profile) -> bytes:
    """Both trade-off curves beside each other, as a PNG. Thresholds that nothing beats stand out from the sweep."""
    figure = Figure(figsize=(11, 4.8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _draw(left, profile.points, "accuracy-macs")
    _draw(right, profile.points, "accuracy-latency")
    left.set_xlabel("mean MACs per image")
    left.xaxis.set_major_formatter(EngFormatter(sep=" "))
    right.set_xlabel("mean latency per image, ms (ONNX Runtime, batch 1)")
    left.set_ylabel("top-1 accuracy")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    threads = f"{counted(profile.threads, 'thread')}"
    figure.suptitle(f"{profile.run}   ({profile.machine['processor']}, {threads})", fontsize=11)
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()


def _draw(axes: Axes, points: Sequence[Point], curve: Curve) -> None:
    here = [point for point in points if point.curve == curve]
    swept, best = _of(here, "threshold"), efficient_thresholds(here)
    marker = "o" if here[0].provenance == "measured" else ""
    _line(axes, swept, color=SWEEP, linewidth=1.2, marker=marker, markersize=3, label="confidence threshold, swept")
    _line(axes, best, color=CURVE, linewidth=2, marker=marker, markersize=4.5, label="the best thresholds")
    fixed = _of(here, "fixed exit")
    _line(axes, fixed, color=EXITS, linestyle="", marker="D", markersize=7, label="fixed exit", zorder=3)
    for point in fixed:
        axes.annotate(
            f"exit {point.exit}",
            (cost_of(point), point.accuracy),
            xytext=(0, -9),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=9,
            color=EXITS,
        )
    for point, color in zip(_of(here, "operating point"), POINTS, strict=False):
        _line(axes, [point], color=color, linestyle="", marker="s", markersize=8, label=point.name, zorder=4)
    for point in _of(here, "full network"):
        # Whatever lies to the right of it costs more than not stopping early at all.
        axes.axvline(cost_of(point), color=FULL, linewidth=1, linestyle=":", zorder=1)
        star = "full network, one graph"
        _line(axes, [point], color=FULL, linestyle="", marker="*", markersize=15, label=star, zorder=5)
    axes.set_title(f"{here[0].provenance} on {counted(here[0].images, 'test image')}", fontsize=10, loc="left")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.08)
    axes.set_xlim(left=0)
    axes.set_ylim(accuracy_limits(point.accuracy for point in here))


def _line(axes: Axes, points: Sequence[Point], **style: Any) -> None:
    if not points:  # the extent of an empty line that is not clipped leaves no space for the axes
        return
    # Not clipped, since a marker at 100 % lies on the upper end of the axis.
    axes.plot([cost_of(point) for point in points], [point.accuracy for point in points], clip_on=False, **style)


def _of(points: Sequence[Point], kind: Kind) -> list[Point]:
    return [point for point in points if point.kind == kind]
