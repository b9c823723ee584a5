"""What `evaluate` finds about a run: every exit on a split, from the logits that training stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgemate.core.class_report import ClassReport
    from edgemate.profiling.at_thresholds import ThresholdFigures
    from edgemate.runs import Run, Split, SplitLogits


@dataclass(frozen=True)
class RunEvaluation:
    """Every exit of a run on a split. Nothing is run for it.

    Attributes:
        run: name of the run.
        split: which images.
        cuts: names of the cut points, one per exit.
        exits: top-1, top-5, accuracy by class and confusion matrix of every exit.
        policy: what the given thresholds would do; None without them.
    """

    run: str
    split: Split
    cuts: tuple[str, ...]
    exits: ClassReport
    policy: ThresholdFigures | None = None

    def to_json(self, *, confusion: bool = False) -> dict[str, Any]:
        """The same as JSON values; with the confusion matrices if asked for."""
        return {
            "run": self.run,
            "split": self.split,
            "cuts": list(self.cuts),
            **({} if self.policy is None else {"policy": self.policy.to_json()}),
            **self.exits.to_json(confusion=confusion),
        }


def evaluate_run(run: Run, split: str = "test", thresholds: Sequence[float] | None = None) -> RunEvaluation:
    """Evaluate the logits of a finished run on a split.

    Args:
        run: the run.
        split: which of its splits.
        thresholds: simulate a confidence policy with these, one per exit but the last, or one for all. Temperatures are
            those that calibration fits. Costs are in the result if the run has been profiled.

    Raises:
        RunError: a file of the run cannot be read.
        UsageError: the run has no such split, or a threshold cannot be used.
    """
    from typing import cast, get_args

    from edgemate.core.class_report import ClassReport
    from edgemate.errors import UsageError
    from edgemate.runs import Split

    known = [name for name in get_args(Split) if run.logits_path(name).is_file()]
    if split not in known:
        raise UsageError(f"split {split!r}: {run.path} has {', '.join(known)}")
    chosen, metadata = cast(Split, split), run.read_metadata()
    stored = run.read_logits(chosen)
    report = ClassReport.of(*stored, metadata.classes)
    policy = None if thresholds is None else _at(run, stored, thresholds)
    return RunEvaluation(run.name, chosen, metadata.cuts, report, policy)


def _at(run: Run, stored: SplitLogits, thresholds: Sequence[float]) -> ThresholdFigures:
    from edgemate.errors import RunError
    from edgemate.json_files import read_json
    from edgemate.limits import PROFILE_BYTES
    from edgemate.profiling.at_thresholds import at_thresholds, fitted_temperatures
    from edgemate.profiling.stop_costs import StopCosts

    costs = None
    if run.profile_path.is_file():
        try:
            costs = StopCosts.of(read_json(run.profile_path, PROFILE_BYTES))
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise RunError(f"{run.profile_path}: not a profile ({reason}); profile the run again") from error
    temperatures = fitted_temperatures(*run.read_logits("calibration"))
    return at_thresholds(*stored, thresholds, temperatures, costs)
