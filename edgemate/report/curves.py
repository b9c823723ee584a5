"""The curves of a subject: every series that the trade-off charts draw, on each cost axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from edgemate.calibration import simulate_split
from edgemate.profiling.bounds import BoundPoint, oracle_exit, random_exit
from edgemate.profiling.tradeoff import SIMULATED_THRESHOLDS, spread_thresholds
from edgemate.report.budgets import Budget
from edgemate.report.outcomes import Outcomes
from edgemate.report.subject import Subject
from edgemate.wording import counted

Axis = Literal["macs", "ms", "mj"]
AXES: tuple[Axis, ...] = ("macs", "ms", "mj")


class Mark(NamedTuple):
    """A point of a series.

    Attributes:
        cost: in MACs, ms or mJ.
        accuracy: in [0, 1].
        label: what it is.
        images: how many the accuracy is of; None for all of the subject's.
    """

    cost: float
    accuracy: float
    label: str
    images: int | None = None


@dataclass
class Curves:
    """The series of one subject on one axis; a series without points is not drawn.

    Attributes:
        budgeted: thresholds that the solver found for each budget on the calibration split.
        swept: one threshold that all exits share.
        measured: what early exits did when they were really taken and timed; on the axis of ms.
        operating_points: by name.
        exits: stopping always at one exit, whose prefix is one graph.
        full: the last of these: the plain network without early exits.
        random: the lower bound, simulated.
        oracle: the upper bound, simulated.
        front: of all but the bounds and what was measured, those that nothing beats.
    """

    budgeted: list[Mark] = field(default_factory=list)
    swept: list[Mark] = field(default_factory=list)
    measured: list[Mark] = field(default_factory=list)
    operating_points: list[Mark] = field(default_factory=list)
    exits: list[Mark] = field(default_factory=list)
    full: list[Mark] = field(default_factory=list)
    random: list[Mark] = field(default_factory=list)
    oracle: list[Mark] = field(default_factory=list)
    front: list[Mark] = field(default_factory=list)

    def marks(self) -> list[Mark]:
        """All points."""
        return [mark for series in vars(self).values() for mark in series]


def curves_of(subject: Subject, axis: Axis, budgets: Sequence[Budget], outcomes: Outcomes) -> Curves | None:
    """The curves of a subject on one axis; None where its profile does not have that cost."""
    costs = {"macs": subject.costs.macs, "ms": subject.costs.milliseconds, "mj": subject.costs.millijoules}[axis]
    if costs is None:
        return None
    split = replace(subject.stored, costs=costs)

    def simulated(thresholds: Sequence[float], label: str) -> Mark:
        found = outcomes.at(thresholds)
        return Mark(found.mean_cost(costs), found.accuracy, label)

    found = Curves()
    for budget in budgets:
        found.budgeted.append(simulated(budget.thresholds, f"budget of {budget.macs / 1e6:g} M MACs"))
    for threshold in spread_thresholds(subject.logits, costs, SIMULATED_THRESHOLDS):
        found.swept.append(simulated((threshold,) * (subject.exits - 1), f"confidence > {threshold:.4g} at every exit"))
    for point in subject.points:
        policy = point.as_policy()
        # The full network is drawn as the one graph that it is.
        if policy.fixed_exit is None and policy.deadline_ms is None:
            result = simulate_split(split, policy)
            found.operating_points.append(Mark(result.mean_cost, result.accuracy, point.name))
    accuracies = subject.correct.mean(axis=0).tolist()
    for k, alone in enumerate(_alone(subject, axis, costs)):
        found.exits.append(Mark(alone, accuracies[k], f"exit {k + 1}"))
    found.full.append(found.exits.pop()._replace(label="full network"))
    found.random = [_bound(point, "random exit") for point in random_exit(accuracies, costs)]
    found.oracle = [_bound(point, "oracle exit") for point in oracle_exit(subject.correct, costs)]
    if axis == "ms":
        found.measured = _measured(subject)
    found.front = pareto_front([*found.budgeted, *found.swept, *found.operating_points, *found.exits, *found.full])
    return found


def pareto_front(marks: Sequence[Mark]) -> list[Mark]:
    """The marks that no other beats: none is at least as accurate and at most as costly, and better in one of both.

    Returns:
        By cost, ascending; their accuracy rises. Of equal marks the first.
    """
    front: list[Mark] = []
    for mark in sorted(marks, key=lambda mark: (mark.cost, -mark.accuracy)):
        if not front or mark.accuracy > front[-1].accuracy:
            front.append(mark)
    return front


def _alone(subject: Subject, axis: Axis, chained: Sequence[float]) -> list[float]:
    """The cost of each exit as one graph without earlier heads, where the profile has it, `(K,)`."""
    exits = subject.profile["exits"]
    if axis == "macs":
        return [float(exit["macs"]) for exit in exits]
    if axis == "ms":
        times = [float(exit["onnxruntime_prefix"]["p50"]) for exit in exits if exit.get("onnxruntime_prefix")]
        if subject.costs.measured_with == "ONNX Runtime" and len(times) == len(exits):
            return times
    return list(chained)


def _bound(point: BoundPoint, name: str) -> Mark:
    which = f"exit {point.exit}" if name == "random exit" else f"exits 1 to {point.exit}"
    return Mark(point.cost, point.accuracy, f"{name}, {which} (bound, simulated)")


def _measured(subject: Subject) -> list[Mark]:
    found = []
    for point in subject.profile.get("points", ()):
        if point["provenance"] == "measured" and point["kind"] in ("threshold", "operating point"):
            name = point["name"] or f"confidence > {point['threshold']:.4g}"
            images = point.get("images")
            on = "" if images is None else f" on {counted(images, 'image')}"
            found.append(Mark(point["latency_ms"], point["accuracy"], f"{name}, measured{on}", images))
    return sorted(found)
