"""`Sheet`: a subject with what is computed of it once, for the page and for the files of its curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgemate.bundle import Bundle
from edgemate.profiling.scored_images import ScoredImages
from edgemate.report.budgets import Budget, solve_budgets
from edgemate.report.curves import AXES, Axis, Curves, curves_of
from edgemate.report.outcomes import Outcomes
from edgemate.report.subject import Subject
from edgemate.runs import Run


@dataclass(frozen=True, eq=False)
class Sheet:
    """A subject, thresholds for its budgets, and its curves on every axis whose cost its profile has."""

    subject: Subject
    budgets: tuple[Budget, ...]
    curves: dict[Axis, Curves]

    @classmethod
    def of(cls, opened: Run | Bundle, profile: Mapping[str, Any], scored: ScoredImages | None = None) -> Sheet:
        """Compute all of it; for the arguments see `Subject.of`.

        Raises:
            RunError, BundleError: a file cannot be read.
            UsageError: the profile is of a network with another number of exits.
        """
        subject = Subject.of(opened, profile, scored)
        calibration = subject.calibration
        budgets = () if calibration is None else tuple(solve_budgets(*calibration, subject.costs.macs))
        outcomes = Outcomes(subject)
        found = {axis: curves_of(subject, axis, budgets, outcomes) for axis in AXES}
        return cls(subject, budgets, {axis: curves for axis, curves in found.items() if curves is not None})
