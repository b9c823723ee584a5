"""What `evaluate` finds about a run: every exit on a split, from the logits that training stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgemate.core.class_report import ClassReport
    from edgemate.runs import Run, Split


@dataclass(frozen=True)
class RunEvaluation:
    """Every exit of a run on a split. Nothing is run for it.

    Attributes:
        run: name of the run.
        split: which images.
        cuts: names of the cut points, one per exit.
        exits: top-1, top-5, accuracy by class and confusion matrix of every exit.
    """

    run: str
    split: Split
    cuts: tuple[str, ...]
    exits: ClassReport

    def to_json(self, *, confusion: bool = False) -> dict[str, Any]:
        """The same as JSON values; with the confusion matrices if asked for."""
        return {
            "run": self.run,
            "split": self.split,
            "cuts": list(self.cuts),
            **self.exits.to_json(confusion=confusion),
        }


def evaluate_run(run: Run, split: str = "test") -> RunEvaluation:
    """Evaluate the logits of a finished run on a split.

    Raises:
        RunError: a file of the run cannot be read.
        UsageError: the run has no such split.
    """
    from typing import cast, get_args

    from edgemate.core.class_report import ClassReport
    from edgemate.errors import UsageError
    from edgemate.runs import Split

    known = [name for name in get_args(Split) if run.logits_path(name).is_file()]
    if split not in known:
        raise UsageError(f"split {split!r}: {run.path} has {', '.join(known)}")
    chosen, metadata = cast(Split, split), run.read_metadata()
    report = ClassReport.of(*run.read_logits(chosen), metadata.classes)
    return RunEvaluation(run.name, chosen, metadata.cuts, report)
