"""The plot of a comparison."""

from __future__ import annotations

import io

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

from edgemate.comparison.result import Comparison, MeanAndSpread
from edgemate.core.accuracy_axis import accuracy_limits
from edgemate.core.plot_text import literal, quiet_glyphs
from edgemate.wording import counted

_MARKERS = "osD^vP*X<>h"
# Fraction of the MACs' range over which the methods' points of one exit are spread, so that error bars do not overlap.
_DODGE = 0.03


def comparison_png(found: Comparison) -> bytes:
    """Accuracy of every exit against its MACs, and the mean over exits, both with standard deviations, as a PNG."""
    rows = len(found.methods)
    figure = Figure(figsize=(12, max(4.8, 1.6 + 0.3 * rows)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_exits(left, found)
    _draw_means(right, found)
    seeds = counted(len(found.seeds), "seed")
    images = f"{counted(found.images['test'], 'test image')} of {found.recipe['data']['name']}"
    figure.suptitle(literal(f"{found.name}   ({found.recipe['model']['backbone']}, {images}, {seeds})"), fontsize=11)
    png = io.BytesIO()
    with quiet_glyphs():
        figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()


def _draw_exits(axes: Axes, found: Comparison) -> None:
    costs = [macs for method in found.methods for macs in method.macs]
    width = _DODGE * ((max(costs) - min(costs)) or costs[0])
    exits = range(1, len(found.cuts) + 1)
    for i, method in enumerate(found.methods):
        aside = width * ((i + 0.5) / len(found.methods) - 0.5)
        figures = [method.exit(k) for k in exits]
        axes.errorbar(
            [macs + aside for macs in method.macs],
            [figure.mean for figure in figures],
            yerr=[figure.deviation or 0.0 for figure in figures],
            color=_color(i),
            marker=_MARKERS[i % len(_MARKERS)],
            markersize=5,
            linewidth=1.2,
            elinewidth=1,
            capsize=2,
        )
    # The names beside the means are the key: a legend of many methods would cover the points.
    axes.set_xlabel("MACs of the exit alone; methods side by side, colors and markers as on the right")
    axes.set_ylabel("top-1 accuracy")
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    _tidy(axes)
    axes.set_ylim(accuracy_limits(end for method in found.methods for k in exits for end in _ends(method.exit(k))))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def _draw_means(axes: Axes, found: Comparison) -> None:
    for i, method in enumerate(found.methods):
        figure: MeanAndSpread = method.mean()
        axes.errorbar(
            figure.mean,
            i,
            xerr=figure.deviation or 0.0,
            color=_color(i),
            marker=_MARKERS[i % len(_MARKERS)],
            markersize=6,
            capsize=3,
        )
    axes.set_yticks(range(len(found.methods)), [literal(method.label) for method in found.methods], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("top-1 accuracy, mean over exits")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlim(accuracy_limits(end for method in found.methods for end in _ends(method.mean())))
    _tidy(axes)


def _ends(figure: MeanAndSpread) -> tuple[float, float]:
    """The ends of the error bar; at most what an accuracy can be."""
    deviation = figure.deviation or 0.0
    return max(0.0, figure.mean - deviation), min(1.0, figure.mean + deviation)


def _tidy(axes: Axes) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _color(i: int) -> tuple[float, ...]:
    """Color of row `i` as RGBA: ten strong colors, then their ten pale ones."""
    strong, i = i % 20 < 10, i % 10
    return tuple(colormaps["tab20"](2 * i + (not strong)))
