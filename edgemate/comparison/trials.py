"""Where the trials of a comparison are."""

from __future__ import annotations

from pathlib import Path

from edgemate.comparison.variants import Variant
from edgemate.runs import Run

SEED = 1_000_000
"""`training.seed` of all trials. It should not be a seed of the table."""


def trial_run(output: Path, variant: Variant, number: int) -> Run:
    """The run of a setting, counted from 1."""
    return Run(output / "trials" / f"{variant.folder}-trial{number}")


def diverged_path(run: Run) -> Path:
    """The file, in the folder of a trial, that exists if its loss was not finite; it has the message."""
    return run.path / "diverged.txt"


def has_ended(run: Run) -> bool:
    """Whether a run is finished, or diverged."""
    return run.finished or diverged_path(run).is_file()
