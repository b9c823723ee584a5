"""Trainings of a benchmark, several at a time, as `edgemate compare` places its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgemate.comparison.engines import Reports
from edgemate.comparison.engines.local import Local
from edgemate.comparison.running import Training, failed_trainings


def run_trainings(trainings: Sequence[Training], *, jobs: int, finished: Callable[[Training, float], None]) -> int:
    """Run them all, `jobs` at a time, and return the CPU threads of each.

    Args:
        trainings: started in this order; an unfinished run is resumed.
        jobs: trainings at the same time.
        finished: called after each successful training, with the seconds that its process took.

    Raises:
        TrainingError: some failed; all others are finished.
    """
    engine = Local(jobs, gpus=False)
    failures = engine.run(trainings, Reports(finished=finished))
    if failures:
        raise failed_trainings(failures)
    return engine.threads
