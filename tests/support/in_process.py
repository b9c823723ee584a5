"""An engine that trains in this process: no process has to start, which takes most of the time of a small training."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.console import Console

from edgemate.comparison.engines import Engine, Reports
from edgemate.comparison.running import Failure, Training
from edgemate.config import load_recipe
from edgemate.errors import DivergedError, EdgemateError
from edgemate.training import train


class InProcess(Engine):
    """Trains one after the other.

    Args:
        jobs: kept.
        gpus: not used.
        diverging: end of the name of a training whose loss is made not finite.
        at_most: trainings before it is interrupted as by Ctrl-C; -1: never.
    """

    started: list[str] = []  # noqa: RUF012, of all engines of this class, since the library makes them

    def __init__(self, jobs: int | None, gpus: bool, *, at_most: int = -1, diverging: str = "") -> None:
        self.jobs, self.threads, self._at_most, self._diverging = jobs or 1, 1, at_most, diverging

    def run(self, trainings: Sequence[Training], reports: Reports) -> list[Failure]:
        """Train them here."""
        failures = []
        for training in trainings:
            if self._at_most == 0:
                raise KeyboardInterrupt
            self._at_most -= 1
            self.started.append(training.name)
            try:
                if self._diverging and training.name.endswith(self._diverging):
                    raise DivergedError("the loss is nan")
                train(load_recipe(training.recipe), training.folder, resume=True, console=Console(file=io.StringIO()))
            except EdgemateError as error:
                failures.append(Failure(training, str(error), isinstance(error, DivergedError)))
            else:
                reports.finished(training, 0.0)
        return failures
