"""What a user gains by a method: accuracy within a budget, and the speed-up at half a point. Simulated from logits."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from edgemate.calibration import CalibrationOptions, Request, StoredSplit, calibrate, simulate_split
from edgemate.comparison import Comparison, MethodFigures
from edgemate.comparison.paired import Difference, difference
from edgemate.policies import Confidence
from edgemate.profiling.at_thresholds import fitted_temperatures
from edgemate.progress import SILENT, Progress
from edgemate.report.budgets import solve_budgets
from edgemate.runs import Run

LEVELS = 13
"""Budgets per method, evenly spaced between the cost of exit 1 and that of the last exit."""

DROP = 0.005


@dataclass(frozen=True)
class Level:
    """A run at one budget.

    Attributes:
        budget: mean MACs per image that thresholds may take on the calibration split.
        macs: mean MACs per image that they took on the test split.
        accuracy: on the test split, a fraction.
    """

    budget: int
    macs: float
    accuracy: float


@dataclass(frozen=True)
class RunGain:
    """What early exit gains in one run; thresholds come from the calibration split, figures from the test split.

    Attributes:
        run: name of the run's folder.
        levels: the budgeted curve; none for a network with one exit.
        speedup: MACs of the last exit over mean MACs, with thresholds that may lose half a point against the last exit.
        lost: accuracy that they lost against the last exit, a fraction.
    """

    run: str
    levels: tuple[Level, ...]
    speedup: float
    lost: float

    @property
    def budgeted(self) -> float | None:
        """Accuracy, mean over the budgets; None for a network with one exit."""
        return statistics.fmean(level.accuracy for level in self.levels) if self.levels else None


@dataclass(frozen=True)
class MethodGain:
    """The gains of a method's runs, one per seed."""

    method: MethodFigures
    runs: tuple[RunGain, ...]


def method_gains(found: Comparison, folder: Path, *, progress: Progress = SILENT) -> list[MethodGain]:
    """The gains of every method of a comparison, in its order.

    Args:
        found: the comparison.
        folder: where its runs are.
        progress: advanced after each method.

    Raises:
        RunError: a run's logits cannot be read.
    """
    progress.step("solving budgets, run")
    total = sum(len(method.runs) for method in found.methods)
    gains = []
    for number, method in enumerate(found.methods):
        progress.advance(number * total // len(found.methods), total)
        gains.append(
            MethodGain(method, tuple(run_gain(Run(folder / run.run), method.chained_macs) for run in method.runs))
        )
    return gains


def run_gain(run: Run, macs: Sequence[float]) -> RunGain:
    """The gain of one run, whose exits cost chained MACs `(K,)`. Raises RunError if its logits cannot be read."""
    if len(macs) == 1:
        return RunGain(run.name, (), 1.0, 0.0)
    calibration, test = run.read_logits("calibration"), run.read_logits("test")
    split = StoredSplit(*test, list(macs))
    temperatures = fitted_temperatures(*calibration)
    levels = []
    for budget in solve_budgets(*calibration, macs, LEVELS):
        found = simulate_split(split, Confidence(budget.thresholds, temperature=temperatures))
        levels.append(Level(budget.macs, found.mean_cost, found.accuracy))
    request = Request("half a point", max_drop=DROP)
    point = calibrate(*calibration, macs, CalibrationOptions([request])).points.points[0]
    found = simulate_split(split, point.as_policy())
    full = float(split.correct[:, -1].mean())
    return RunGain(run.name, tuple(levels), float(macs[-1]) / found.mean_cost, full - found.accuracy)


class Column(NamedTuple):
    """An accuracy by which methods are ranked.

    Attributes:
        name: in tables.
        key: in JSON.
        values: of one method, by seed.
        best: the method with the highest mean.
    """

    name: str
    key: str
    values: Callable[[MethodGain], list[float]]
    best: MethodGain

    def to_best(self, gain: MethodGain) -> Difference:
        """A method's difference to the best one, seed by seed."""
        return difference(self.values(gain), self.values(self.best))

    def mean(self, gain: MethodGain) -> float:
        """A method's mean over seeds."""
        return statistics.fmean(self.values(gain))


def columns(gains: Sequence[MethodGain]) -> list[Column]:
    """Mean over exits, exit 1, and the mean over budgets, which networks with one exit do not have."""
    of: list[tuple[str, str, Callable[[MethodGain], list[float]]]] = [
        ("mean over exits", "mean", lambda gain: [run.test.mean for run in gain.method.runs]),
        ("exit 1", "exit1", lambda gain: [run.test.exits[0] for run in gain.method.runs]),
    ]
    if all(run.levels for gain in gains for run in gain.runs):
        of.append(("budgeted", "budgeted", lambda gain: [run.budgeted or 0.0 for run in gain.runs]))
    found = []
    for name, key, values in of:
        means = [statistics.fmean(values(gain)) for gain in gains]
        found.append(Column(name, key, values, gains[means.index(max(means))]))
    return found


def gains_markdown(found: Comparison, gains: Sequence[MethodGain]) -> str:
    """A row per method, best mean over exits first. Differences are to the best of each column, seed by seed."""
    shown = columns(gains)
    lines = [
        f"# {found.name}: what a user gains",
        "",
        "Top-1 accuracy on the test images in %. Budgeted: the mean over budgets between the MACs of exit 1 and of the "
        "last exit, with thresholds for each from the calibration split. Speed-up: MACs of the last exit over mean "
        "MACs, with thresholds that lose at most half a point against the last exit on the calibration split; "
        "beside it the points lost on the test images. Simulated from the stored logits. Differences are to the best "
        f"of the column, paired by seed{', ± standard error' if len(found.seeds) > 1 else ''}.",
        "",
        "| method | " + " | ".join(f"{column.name} | to the best" for column in shown) + " | speed-up | points lost |",
        "|---|" + "---|" * (2 * len(shown) + 2),
    ]
    for gain in sorted(gains, key=lambda gain: -shown[0].mean(gain)):
        cells = []
        for column in shown:
            mean, leads = f"{100 * column.mean(gain):.2f}", gain is column.best
            cells += [f"**{mean}**" if leads else mean, "" if leads else column.to_best(gain).in_points()]
        speedup = _spread([run.speedup for run in gain.runs])
        lost = _spread([100 * run.lost for run in gain.runs])
        lines.append(f"| `{gain.method.label}` | {' | '.join(cells)} | {speedup} × | {lost} |")
    return "\n".join([*lines, ""])


def gains_json(gains: Sequence[MethodGain]) -> dict[str, Any]:
    """The same as JSON values: per method every run, and the differences to the best methods."""
    shown = columns(gains)
    return {
        "best": {column.key: column.best.method.label for column in shown},
        "methods": [
            {
                "label": gain.method.label,
                "runs": [{**asdict(run), "budgeted": run.budgeted} for run in gain.runs],
                "to_best": {column.key: asdict(column.to_best(gain)) for column in shown},
            }
            for gain in gains
        ],
    }


def _spread(values: Sequence[float]) -> str:
    mean = f"{statistics.fmean(values):.2f}".replace("-", "−")
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.2f}"
