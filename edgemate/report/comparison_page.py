"""`write_comparison_report`: the page of a comparison of methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgemate import __version__, files
from edgemate.calibration import StoredSplit, simulate_split
from edgemate.comparison import Comparison, MethodFigures
from edgemate.comparison.settings import described
from edgemate.policies import Confidence
from edgemate.profiling.at_thresholds import fitted_temperatures
from edgemate.progress import SILENT, Progress
from edgemate.report.budgets import solve_budgets
from edgemate.report.environment import environment_rows
from edgemate.report.methods_chart import ExitMark, MethodCurve, methods_chart
from edgemate.report.rendering import render
from edgemate.runs import Run

SCRIPTS = ("numbers.js", "theme.js", "charts.js", "controls.js", "comparison.js")
LEVELS = 13
"""Budgets per method."""

KEY = (
    ("here", "the budget above"),
    ("budgeted", "thresholds solved for each budget, mean over seeds"),
    ("exits", "always the same exit, mean and standard deviation over seeds"),
)


@dataclass(frozen=True)
class Level:
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
    """Write `comparison.html` into the folder of a comparison; returns its path.

    Nothing is trained or run: the budgeted curves are simulated from the logits that the runs stored, with thresholds
    that the solver finds on the calibration split.

    Args:
        found: the comparison.
        folder: where its runs are.
        progress: advanced after each run.

    Raises:
        RunError: a run's logits cannot be read.
    """
    progress.step("solving budgets, run")
    total = sum(len(method.runs) for method in found.methods)
    levels = []
    for number, method in enumerate(found.methods):
        progress.advance(number * total // len(found.methods), total)
        levels.append(method_levels(method, [Run(folder / run.run) for run in method.runs]))
    path = folder / "comparison.html"
    files.write_text(path, comparison_html(found, levels))
    return path


def method_levels(method: MethodFigures, runs: Sequence[Run]) -> list[Level]:
    """A method at `LEVELS` budgets between its first and its last exit; none for a network with one exit."""
    outcomes = []
    budgets: list[int] = []
    for run in runs:
        calibration, test = run.read_logits("calibration"), run.read_logits("test")
        temperatures = fitted_temperatures(*calibration)
        table = solve_budgets(*calibration, method.chained_macs, LEVELS)
        budgets = [one.macs for one in table]
        policies = [Confidence(one.thresholds, temperature=temperatures) for one in table]
        split = StoredSplit(*test, method.chained_macs)
        results = [simulate_split(split, policy) for policy in policies]
        outcomes.append([(result.mean_cost, result.accuracy) for result in results])
    costs, accuracies = np.moveaxis(np.array(outcomes, dtype=np.float64).reshape(len(runs), len(budgets), 2), 2, 0)
    return [
        Level(
            budget,
            float(costs[:, i].mean()),
            float(accuracies[:, i].mean()),
            float(accuracies[:, i].std(ddof=1)) if len(runs) > 1 else None,
        )
        for i, budget in enumerate(budgets)
    ]


def comparison_html(found: Comparison, levels: Sequence[Sequence[Level]]) -> str:
    """The page as text."""
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
