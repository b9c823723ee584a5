"""Threshold calibration: temperatures and operating points from what every exit said of the calibration split."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.calibration.goals import Goal
from edgemate.calibration.guarantee import Guaranteed, guaranteed
from edgemate.calibration.operating_points import (
    MEASURES,
    ExitTemperature,
    Expected,
    Guarantee,
    OperatingPoint,
    OperatingPoints,
    Spread,
    describe,
)
from edgemate.calibration.simulation import simulate
from edgemate.calibration.stored_split import StoredSplit
from edgemate.calibration.temperature import doubt, fit_temperature
from edgemate.errors import UsageError
from edgemate.latency_tables import LatencyTable
from edgemate.policies import scores
from edgemate.policies.fixed import FixedExit
from edgemate.policies.policy import Policy
from edgemate.progress import SILENT, Progress
from edgemate.registry import SOLVERS, closest
from edgemate.wording import counted

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Request:
    """A named operating point to find. Exactly one of the others is given; with none it is the whole network.

    Attributes:
        name: of the operating point.
        max_drop: the most accuracy it may lose on the split, as a fraction.
        mean_macs: the most chained MACs it may take per image.
        mean_ms: the most milliseconds, likewise, on the device whose latency table is given.
        risk: with `delta`: the most accuracy it may lose, guaranteed; see `calibration/guarantee.py`.
        delta: how often the guarantee may fail.
    """

    name: str
    max_drop: float | None = None
    mean_macs: float | None = None
    mean_ms: float | None = None
    risk: float | None = None
    delta: float = 0.05

    @property
    def goal(self) -> str:
        """The same in words."""
        if self.max_drop is not None:
            return f"at most {counted(100 * self.max_drop, 'point')} less accuracy"
        if self.mean_macs is not None:
            return f"at most {self.mean_macs:g} MACs on average"
        if self.mean_ms is not None:
            return f"at most {self.mean_ms:g} ms on average"
        if self.risk is not None:
            return f"at most {counted(100 * self.risk, 'point')} less accuracy with probability {1 - self.delta:g}"
        return "the whole network"


DEFAULT_REQUESTS = (
    Request("fast", max_drop=0.02),
    Request("balanced", max_drop=0.005),
    Request("accurate", max_drop=0.0),
    Request("full"),
)


@dataclass(frozen=True)
class Calibrated:
    """The operating points, and for each guaranteed one that could not be promised how many images it takes.

    None where that cannot be said: see `images_needed`. `warnings` has a sentence for each exit whose temperature
    says little.
    """

    points: OperatingPoints
    needed: dict[str, int | None]
    warnings: tuple[str, ...] = ()


def calibrate(
    logits: Array,
    labels: Array,
    macs: Sequence[float],
    *,
    requests: Sequence[Request] = DEFAULT_REQUESTS,
    latency: LatencyTable | None = None,
    solver: str = "direct",
    measure: str | None = None,
    fit_temperatures: bool = True,
    progress: Progress = SILENT,
) -> Calibrated:
    """Fit temperatures and find an operating point for every request.

    Args:
        logits: float32 `(N, K, C)` of the calibration split.
        labels: int `(N,)`.
        macs: chained MACs of stopping at each exit, `(K,)`.
        requests: what to find.
        latency: the table of a device. Where there is one, its times are what is saved, and times are predicted.
        solver: a registered solver's name.
        measure: the score that thresholds are compared with, for solvers that leave it open: confidence if None.
        fit_temperatures: whether to fit them. Without, the operating points fit layout `conditional` too.
        progress: told what is being looked for.

    Raises:
        UsageError: unknown names, shapes that do not fit, or a request that nothing can reach.
    """
    split = StoredSplit(logits, labels, list(macs) if latency is None else latency.costs)
    temperatures = None
    warnings: list[str] = []
    if fit_temperatures:
        progress.step("fitting temperatures")
        fitted = [fit_temperature(logits[:, k], labels) for k in range(split.exits)]
        temperatures = tuple(ExitTemperature(exit=k, **asdict(found)) for k, found in enumerate(fitted, start=1))
        doubts = (doubt(k + 1, found, logits[:, k], labels) for k, found in enumerate(fitted))
        warnings = [said for said in doubts if said is not None]
    finder = _Finder(split, tuple(macs), latency, temperatures, solver, measure)
    points = []
    for request in requests:
        progress.step(f"operating point {request.name}: {request.goal}")
        points.append(finder.find(request))
    return Calibrated(
        OperatingPoints(
            points=tuple(points),
            temperatures=temperatures,
            costs="macs" if latency is None else "latency",
            device=None if latency is None else latency.device,
        ),
        finder.needed,
        tuple(warnings),
    )


class _Finder:
    """Finds one operating point after the other on the same split."""

    def __init__(
        self,
        split: StoredSplit,
        macs: tuple[float, ...],
        latency: LatencyTable | None,
        temperatures: tuple[ExitTemperature, ...] | None,
        solver: str,
        measure: str | None,
    ) -> None:
        self.needed: dict[str, int | None] = {}
        self._split = split
        self._macs = macs
        self._latency = latency
        self._temperatures = None if temperatures is None else tuple(found.temperature for found in temperatures)
        self._solver = solver
        self._measure = measure
        self._solve = _solve(solver, measure)

    def find(self, request: Request) -> OperatingPoint:
        promised: Guaranteed | None = None
        goal: Goal | None = None
        costs: Sequence[float] = self._split.costs
        solver = self._solver
        if request.risk is not None:
            measure = MEASURES[self._measure or "confidence"]
            promised = guaranteed(self._split, request.risk, request.delta, measure)
            policy: Policy = promised.policy
            solver = "guarantee"
            if not promised.promised:
                self.needed[request.name] = promised.needed
        elif request.max_drop is not None:
            goal = Goal(max_drop=request.max_drop)
            policy = self._solve(self._with(costs), goal)
        elif request.mean_macs is not None:
            costs, goal = self._macs, Goal(max_cost=request.mean_macs)
            policy = self._within(request.name, costs, goal, "MACs")
        elif request.mean_ms is not None:
            if self._latency is None:
                raise UsageError(f"{request.name}: a mean latency needs a device that was measured, --device TAG")
            costs, goal = self._latency.costs, Goal(max_cost=request.mean_ms)
            policy = self._within(request.name, costs, goal, "ms")
        else:
            policy, solver = FixedExit(self._split.exits), ""
        guarantee = None
        if promised is not None and promised.promised:
            guarantee = Guarantee(
                risk=promised.risk,
                delta=promised.delta,
                images=promised.images,
                lost=promised.lost,
                gained=promised.gained,
            )
        return OperatingPoint.model_validate(
            {
                "name": request.name,
                **describe(policy, self._split.exits),
                "goal": request.goal,
                "goal_reached": self._reached(policy, costs, goal) if promised is None else promised.promised,
                "solver": solver,
                "guarantee": guarantee,
                "expected": self._expected(policy),
                "images": self._split.images,
            }
        )

    def _within(self, name: str, costs: Sequence[float], goal: Goal, unit: str) -> Policy:
        if goal.max_cost is not None and goal.max_cost < costs[0]:
            raise UsageError(f"{name}: exit 1 alone takes {costs[0]:.4g} {unit} on average; at least that is needed")
        return self._solve(self._with(costs), goal)

    def _reached(self, policy: Policy, costs: Sequence[float], goal: Goal | None) -> bool:
        if goal is None:
            return True
        found = simulate(self._split.logits, self._split.labels, costs, policy)
        return goal.reached(found.accuracy, found.mean_cost, float(self._split.correct[:, -1].mean()))

    def _with(self, costs: Sequence[float]) -> StoredSplit:
        early = None if self._temperatures is None else self._temperatures[:-1]
        return StoredSplit(self._split.logits, self._split.labels, costs, early)

    def _expected(self, policy: Policy) -> Expected:
        split = self._split
        found = simulate(split.logits, split.labels, self._macs, policy)
        answers = split.logits[np.arange(split.images), found.exits_taken - 1]
        if self._temperatures is not None:
            answers = answers / np.asarray(self._temperatures, dtype=np.float32)[found.exits_taken - 1, None]
        answers = answers[scores.finite(answers)]
        probability = scores.max_probability(answers).astype(np.float64)
        return Expected(
            accuracy=found.accuracy,
            mean_macs=found.mean_cost,
            mean_ms=None if self._latency is None else self._latency.mean_ms(found.fractions),
            p99_ms=None if self._latency is None else self._latency.p99_ms(found.fractions),
            fractions=found.fractions,
            probability=Spread(mean=min(float(probability.mean()), 1.0), deviation=float(probability.std()))
            if len(probability)
            else None,
        )


def _solve(solver: str, measure: str | None) -> Callable[[StoredSplit, Goal], Policy]:
    """The solver as a function of split and goal alone."""
    solve = SOLVERS.get(solver)
    if measure is None:
        return solve
    if measure not in MEASURES:
        raise UsageError(f"unknown measure {measure!r}; {closest(measure, MEASURES)}")
    if "measure" not in inspect.signature(solve).parameters:
        raise UsageError(f"measure {measure!r}: solver {solver!r} has its own")
    chosen = MEASURES[measure]
    return lambda split, goal: solve(split, goal, measure=chosen)
