"""Trains the missing runs of a comparison with an engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import yaml

from edgemate import files
from edgemate.comparison.engines import Engine, Reports
from edgemate.comparison.place import log_path
from edgemate.comparison.running import Failure, Training, failed_trainings, progress_line
from edgemate.comparison.trials import has_ended
from edgemate.config import Recipe
from edgemate.progress import SILENT, Progress
from edgemate.runs import Run, Split
from edgemate.wording import counted


class Trainings:
    """Trains runs and reports them. The engine is started with the first training, and stopped on exit.

    Args:
        output: folder of the comparison.
        engine: places the trainings.
        runs: all runs of the comparison, finished or not.
        report: called with a line of text after each training.
        progress: advanced a few times a second, with the state of the running trainings.
    """

    def __init__(
        self,
        output: Path,
        engine: Engine,
        runs: Sequence[Run],
        report: Callable[[str], None],
        progress: Progress = SILENT,
    ) -> None:
        self.output, self.engine = output, engine
        self._all, self._ended = len(runs), sum(has_ended(run) for run in runs)
        self._report, self._progress = report, progress
        self.started = False
        if self._ended:
            verb = "is" if self._ended == 1 else "are"
            report(f"{self._ended} of {counted(self._all, 'run')} {verb} finished already")

    def __enter__(self) -> Trainings:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.engine.stop()

    def train(
        self,
        recipes: Mapping[Run, Recipe],
        *,
        diverged: Callable[[Failure], bool] = lambda failure: False,
        split: Split = "test",
    ) -> None:
        """Train the runs that are not finished, in this order.

        Args:
            recipes: the recipe of each run.
            diverged: called with a training whose loss was not finite; it returns whether that is a result.
            split: whose accuracies are reported.

        Raises:
            TrainingError: some trainings failed; all others are finished.
        """
        missing = [self._prepare(run, recipe) for run, recipe in recipes.items() if not run.finished]
        if not missing:
            return
        before = self._ended

        def finished(training: Training, seconds: float) -> None:
            self._ended += 1
            figures = Run(training.folder).read_metrics()["accuracy"][split]
            shown = " ".join(f"{100 * accuracy:5.2f}" for accuracy in [*figures["exits"], figures["ensemble"]])
            where = "exits and ensemble" if split == "test" else f"{split} exits and ensemble"
            self._report(f"{self._ended:>3}/{self._all}  {training.name}: {where} {shown} %  {seconds:.0f} s")

        def poll(running: Sequence[Training], waiting: int) -> None:
            here = before + len(missing) - len(running) - waiting
            self._progress.advance(here, self._all, lambda: "\n".join(progress_line(training) for training in running))

        if not self.started:
            self.started = True
            self.engine.start(self.output)
        self._progress.step("trainings")
        failures = self.engine.run(missing, Reports(finished, poll, self._report))
        fatal = [failure for failure in failures if not (failure.diverged and diverged(failure))]
        for failure in failures:
            if failure not in fatal:
                self._ended += 1
                self._report(f"{self._ended:>3}/{self._all}  {failure.training.name}: {failure.reason}")
        if fatal:
            raise failed_trainings(fatal)

    def _prepare(self, run: Run, recipe: Recipe) -> Training:
        resolved = self.output / "recipes" / f"{run.name}.yaml"
        files.write_text(resolved, yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
        return Training(run.name, resolved, run.path, log_path(self.output, run))
