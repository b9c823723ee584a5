"""Calibration: temperatures and operating points from stored logits."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.calibration.goals import Goal
from edgemate.calibration.guarantee import certify
from edgemate.calibration.operating_points import (
    ExitTemperature,
    Expected,
    Guarantee,
    OperatingPoint,
    OperatingPoints,
    Spread,
)
from edgemate.calibration.simulation import simulate_split
from edgemate.calibration.stored_split import StoredSplit
from edgemate.calibration.temperature import fit_temperatures, temperature_warning
from edgemate.errors import UsageError
from edgemate.latency_tables import LatencyTable
from edgemate.policies import Confidence, FixedExit, Policy, ScorePolicy
from edgemate.progress import SILENT, Progress
from edgemate.registry import POLICIES, SOLVERS, closest
from edgemate.wording import counted

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Request:
    """An operating point to find. At most one goal is given; with none it is the whole network.

    Attributes:
        name: of the operating point.
        max_drop: the largest accuracy drop on the split, as a fraction.
        mean_macs: the largest mean number of chained MACs per image.
        mean_ms: the largest mean time per image in milliseconds, on the device of the latency table.
        risk: with `delta`: the largest accuracy drop, certified, as a fraction; see `calibration/guarantee.py`.
        delta: the probability that the certified bound fails.
        thresholds: given instead of searched; one per exit but the last, `(K-1,)`, or one for all.
    """

    name: str
    max_drop: float | None = None
    mean_macs: float | None = None
    mean_ms: float | None = None
    risk: float | None = None
    delta: float = 0.05
    thresholds: tuple[float, ...] | None = None

    @property
    def goal(self) -> str:
        """The goal in words."""
        if self.max_drop is not None:
            return f"at most {counted(100 * self.max_drop, 'point')} less accuracy"
        if self.mean_macs is not None:
            return f"at most {self.mean_macs:,.0f} MACs on average"
        if self.mean_ms is not None:
            return f"at most {self.mean_ms:g} ms on average"
        if self.risk is not None:
            return f"at most {counted(100 * self.risk, 'point')} less accuracy with probability {1 - self.delta:g}"
        return "the whole network" if self.thresholds is None else "the thresholds given"


DEFAULT_REQUESTS = (
    Request("fast", max_drop=0.02),
    Request("balanced", max_drop=0.005),
    Request("accurate", max_drop=0.0),
    Request("full"),
)


@dataclass(frozen=True)
class CalibrationOptions:
    """What to find and how, whether for a run, a bundle or stored logits.

    Attributes:
        requests: the operating points to find.
        solver: a registered solver's name.
        score: the name of the registered policy whose score the thresholds are compared with, for solvers that leave
            it open; confidence if None.
        fit_temperatures: whether to fit a temperature per exit. The conditional graph needs thresholds without.
    """

    requests: Sequence[Request] = DEFAULT_REQUESTS
    solver: str = "direct"
    score: str | None = None
    fit_temperatures: bool = True


_DEFAULTS = CalibrationOptions()


@dataclass(frozen=True)
class Calibrated:
    """The result of a calibration.

    Attributes:
        points: operating points and temperatures.
        required_samples: for each requested guarantee that could not be certified, by name: about how many images
            certification takes; None where no number is known to do.
        warnings: one sentence for each exit whose temperature is at a bound of the search.
    """

    points: OperatingPoints
    required_samples: dict[str, int | None]
    warnings: tuple[str, ...] = ()


def calibrate(
    logits: Array,
    labels: Array,
    macs: Sequence[float],
    options: CalibrationOptions = _DEFAULTS,
    *,
    latency: LatencyTable | None = None,
    progress: Progress = SILENT,
) -> Calibrated:
    """Fit temperatures and find an operating point for every request.

    Args:
        logits: float32 `(N, K, C)` of the calibration split, or float16; they may be mapped from a file.
        labels: int `(N,)`.
        macs: chained MACs of stopping at each exit, `(K,)`.
        options: what to find and how.
        latency: the latency table of a device. With one, its times are the costs that thresholds minimize, and times
            are predicted.
        progress: notified of each step.

    Raises:
        UsageError: unknown names, shapes that do not match, or a request that no policy can reach.
    """
    split = StoredSplit(logits, labels, list(macs) if latency is None else latency.costs)
    temperatures = None
    warnings: list[str] = []
    if options.fit_temperatures:
        progress.step("fitting temperatures")
        fitted = fit_temperatures(logits, labels)
        temperatures = tuple(ExitTemperature(exit=k, **asdict(found)) for k, found in enumerate(fitted, start=1))
        checked = (temperature_warning(k + 1, found, logits[:, k], labels) for k, found in enumerate(fitted))
        warnings = [warning for warning in checked if warning is not None]
    finder = _Finder(split, tuple(macs), latency, temperatures, options)
    points = []
    for request in options.requests:
        progress.step(f"operating point {request.name}: {request.goal}")
        points.append(finder.find(request))
    return Calibrated(
        OperatingPoints(
            points=tuple(points),
            temperatures=temperatures,
            costs="macs" if latency is None else "latency",
            device=None if latency is None else latency.device,
        ),
        finder.required_samples,
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
        options: CalibrationOptions,
    ) -> None:
        self.required_samples: dict[str, int | None] = {}
        self._split = split
        self._macs = macs
        self._latency = latency
        self._temperatures = None if temperatures is None else tuple(found.temperature for found in temperatures)
        self._options = options
        self._solve = _solver(options)

    def find(self, request: Request) -> OperatingPoint:
        if request.risk is not None:
            return self._certify(request, request.risk)
        if request.thresholds is not None:
            return self._point(request, self._given(request.thresholds))
        if request.max_drop is not None:
            return self._search(request, self._split.costs, Goal(max_drop=request.max_drop))
        if request.mean_macs is not None:
            return self._within(request, self._macs, request.mean_macs, "MACs")
        if request.mean_ms is not None:
            if self._latency is None:
                raise UsageError(f"{request.name}: a mean latency needs the latency table of a device")
            return self._within(request, self._latency.costs, request.mean_ms, "ms")
        return self._point(request, FixedExit(self._split.exits))

    def _certify(self, request: Request, risk: float) -> OperatingPoint:
        score = _score_policy(self._options.score or "confidence")
        found = certify(self._split, risk, request.delta, score)
        guarantee = None
        if found.certified:
            guarantee = Guarantee(
                risk=found.risk, delta=found.delta, images=found.images, lost=found.lost, gained=found.gained
            )
        else:
            self.required_samples[request.name] = found.required_samples
        return self._point(request, found.policy, goal_reached=found.certified, solver="guarantee", guarantee=guarantee)

    def _within(self, request: Request, costs: Sequence[float], budget: float, unit: str) -> OperatingPoint:
        goal = Goal(max_cost=budget)
        if budget < costs[0]:
            least = f"{costs[0]:,.0f}" if unit == "MACs" else f"{costs[0]:.4g}"
            raise UsageError(f"{request.name}: exit 1 alone takes {least} {unit} on average; at least that is needed")
        return self._search(request, costs, goal)

    def _given(self, thresholds: tuple[float, ...]) -> Policy:
        score = _score_policy(self._options.score or "confidence")
        early = None if self._temperatures is None else self._temperatures[:-1]
        policy = score(thresholds[0] if len(thresholds) == 1 else thresholds, temperature=early)
        policy.check(self._split.exits)
        return policy

    def _search(self, request: Request, costs: Sequence[float], goal: Goal) -> OperatingPoint:
        split = self._split
        early = None if self._temperatures is None else self._temperatures[:-1]
        priced = replace(split, costs=costs, temperatures=early)
        policy = self._solve(priced, goal)
        found = simulate_split(priced, policy)
        reached = goal.reached(found.accuracy, found.mean_cost, float(split.correct[:, -1].mean()))
        return self._point(request, policy, goal_reached=reached, solver=self._options.solver)

    def _point(self, request: Request, policy: Policy, **fields: Any) -> OperatingPoint:
        images = self._split.images
        return OperatingPoint.of(
            request.name, policy, goal=request.goal, expected=self._expected(policy), images=images, **fields
        )

    def _expected(self, policy: Policy) -> Expected:
        split = self._split
        found = simulate_split(replace(split, costs=self._macs), policy)
        confidences = split.reductions.scores(Confidence, self._temperatures or (1.0,) * split.exits)
        probability = confidences[np.arange(split.images), found.exits_taken - 1].astype(np.float64)
        probability = probability[~np.isnan(probability)]
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


def _solver(options: CalibrationOptions) -> Callable[[StoredSplit, Goal], Policy]:
    """The solver as a function of split and goal alone."""
    solve = SOLVERS.get(options.solver)
    if options.score is None:
        return solve
    chosen = _score_policy(options.score)
    if "score_policy" not in inspect.signature(solve).parameters:
        raise UsageError(f"score {options.score!r}: solver {options.solver!r} has its own")
    return lambda split, goal: solve(split, goal, score_policy=chosen)


def _score_policy(name: str) -> type[ScorePolicy]:
    """The registered policy `name`, which must compare a score with thresholds."""
    found = _as_score_policy(name) if name in POLICIES or ":" in name else None
    if found is None:
        known = [policy for policy in POLICIES.names() if _as_score_policy(policy) is not None]
        raise UsageError(f"unknown score {name!r}; {closest(name, known)}")
    return found


def _as_score_policy(name: str) -> type[ScorePolicy] | None:
    policy = POLICIES.get(name)
    return policy if isinstance(policy, type) and issubclass(policy, ScorePolicy) else None
