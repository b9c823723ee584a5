"""`write_comparison_report`: the page of a comparison of methods."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgemate import __version__, files
from edgemate.comparison import Comparison, MethodFigures
from edgemate.comparison.settings import described
from edgemate.file_group import together
from edgemate.progress import SILENT, Progress
from edgemate.report.environment import environment_rows
from edgemate.report.gains import Column, MethodGain, columns, gains_json, gains_markdown, method_gains
from edgemate.report.methods_chart import ExitMark, MethodCurve, methods_chart
from edgemate.report.rendering import render

SCRIPTS = ("numbers.js", "theme.js", "charts.js", "controls.js", "comparison.js")
KEY = (
    ("here", "the budget above"),
    ("budgeted", "thresholds solved for each budget, mean over seeds"),
    ("exits", "always the same exit, mean and standard deviation over seeds"),
)


@dataclass(frozen=True)
class MeanLevel:
    """A method at one budget, over its seeds.

    Attributes:
        budget: mean MACs per image that thresholds may take on the calibration split.
        macs: mean MACs per image that they took on the test split, mean over seeds.
        accuracy: on the test split, mean over seeds.
        deviation: its standard deviation over seeds; None with one seed.
    """

    budget: int
    macs: float
    accuracy: float
    deviation: float | None


def write_comparison_report(found: Comparison, folder: Path, *, progress: Progress = SILENT) -> Path:
    """Write `comparison.html`, `gains.md` and `gains.json` into the folder of a comparison; returns the page's path.

    Nothing is trained or run: the budgeted curves are simulated from the logits that the runs stored, with thresholds
    that the solver finds on the calibration split.

    Args:
        found: the comparison.
        folder: where its runs are.
        progress: advanced after each run.

    Raises:
        RunError: a run's logits cannot be read.
    """
    gains = method_gains(found, folder, progress=progress)
    path = folder / "comparison.html"
    with together(folder):
        files.write_text(folder / "gains.md", gains_markdown(found, gains))
        files.write_json(folder / "gains.json", gains_json(gains))
        files.write_text(path, comparison_html(found, gains))
    return path


def mean_levels(gain: MethodGain) -> list[MeanLevel]:
    """A method at its budgets between its first and its last exit; none for a network with one exit."""
    levels = []
    for at_budget in zip(*(run.levels for run in gain.runs), strict=True):
        accuracies = [level.accuracy for level in at_budget]
        levels.append(
            MeanLevel(
                at_budget[0].budget,
                statistics.fmean(level.macs for level in at_budget),
                statistics.fmean(accuracies),
                statistics.stdev(accuracies) if len(accuracies) > 1 else None,
            )
        )
    return levels


def comparison_html(found: Comparison, gains: Sequence[MethodGain]) -> str:
    """The page as text."""
    levels = [mean_levels(gain) for gain in gains]
    shown = columns(gains)
    exits = range(1, len(found.cuts) + 1)
    curves = [
        MethodCurve(
            method.label,
            [(level.macs, level.accuracy) for level in rows],
            [_exit(method, k) for k in exits],
        )
        for method, rows in zip(found.methods, levels, strict=True)
    ]
    ranked = sorted(found.methods, key=lambda method: -method.mean().mean)
    data = {
        "charts": {"macs": methods_chart(curves)},
        "methods": [
            {"label": method.label, "levels": [vars(level) for level in rows]}
            for method, rows in zip(found.methods, levels, strict=True)
        ],
    }
    recipe = found.recipe
    return render(
        "comparison.html.j2",
        SCRIPTS,
        data,
        title=f"{found.name}: comparison",
        heading=found.name,
        version=__version__,
        axes=["macs"],
        names=[method.label for method in found.methods],
        key=KEY,
        cuts=found.cuts,
        images=found.images,
        backbone=recipe["model"]["backbone"],
        dataset=recipe["data"]["name"],
        seeds=found.seeds,
        tuned=found.tuned,
        methods=[_row(method, len(found.cuts)) for method in ranked],
        has_levels=any(levels),
        gain_names=[column.name for column in shown],
        gains=[_gain_row(gain, shown) for gain in sorted(gains, key=lambda gain: -shown[0].mean(gain))],
        environment=environment_rows(
            {"machine": {**found.machine, "trainings at a time": found.jobs}, "threads": found.threads}
        ),
    )


def _exit(method: MethodFigures, k: int) -> ExitMark:
    figure = method.exit(k)
    return ExitMark(float(method.macs[k - 1]), figure.mean, figure.deviation)


def _row(method: MethodFigures, exits: int) -> dict[str, Any]:
    return {
        "label": method.label,
        "mean": method.mean(),
        "exits": [method.exit(k) for k in range(1, exits + 1)],
        "ensemble": method.ensemble(),
        "ece": method.ece(),
        "seconds": method.seconds(),
        "trainings": method.trainings,
        "setting": described(method.chosen.setting, method.distillation) if method.chosen else None,
        "numerics": ", ".join(dict.fromkeys(run.numerics for run in method.runs)),
    }


def _gain_row(gain: MethodGain, shown: Sequence[Column]) -> dict[str, Any]:
    return {
        "label": gain.method.label,
        "columns": [
            {
                "mean": column.mean(gain),
                "to_best": None if gain is column.best else column.to_best(gain).in_points(),
            }
            for column in shown
        ],
        "speedup": statistics.fmean(run.speedup for run in gain.runs),
        "lost": 100 * statistics.fmean(run.lost for run in gain.runs),
    }
