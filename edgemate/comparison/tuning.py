"""`compare --tune N` and `--rates`: a method is trained with N settings, and keeps the best on the calibration split.

The measure is the accuracy, averaged over exits, after the last epoch. All trials have one seed that the table does not
use, so that no row gains from a setting that goes well with a seed of the table.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgemate import files
from edgemate.comparison.plan import check_same_recipe
from edgemate.comparison.rate_grid import RateGrid, edge
from edgemate.comparison.result import TrialFigures
from edgemate.comparison.running import Failure
from edgemate.comparison.search import ROUND, Search
from edgemate.comparison.settings import RATE, described, search_space, value_at, with_setting
from edgemate.comparison.trainings import Trainings
from edgemate.comparison.trials import SEED, diverged_path, has_ended, trial_run
from edgemate.comparison.variants import Variant
from edgemate.config import Recipe
from edgemate.errors import RunError, TrainingError
from edgemate.runs import Run


@dataclass(frozen=True)
class Tuned:
    """A method after its trials.

    Attributes:
        recipe: the method's recipe with the best setting; its seed is that of the recipe it was made from.
        trials: all trials, in order.
        best: the one with the highest accuracy; of equal ones the first.
    """

    recipe: Recipe
    trials: tuple[TrialFigures, ...]
    best: TrialFigures


def tune(
    recipes: Mapping[Variant, Recipe],
    budget: int,
    output: Path,
    trainings: Trainings,
    report: Callable[[str], None],
    rates: Sequence[float] = (),
) -> dict[Variant, Tuned]:
    """Train every method with `budget` settings, or at every one of `rates`.

    Trials that ended are kept. Those of all methods are trained together, in rounds of 4 per method, and each
    round's settings depend on the results of the rounds before.

    Args:
        recipes: a recipe of each method.
        budget: settings per method, the recipe's own included; not read if there are rates.
        output: folder of the comparison.
        trainings: trains the runs.
        report: called with a line for each method.
        rates: learning rates, in place of a search.

    Raises:
        RunError: a trial exists already, of another recipe.
        TrainingError: a training failed, or diverged with every setting of a method.
        UsageError: a user's own part cannot be imported.
    """
    searches: Mapping[Variant, Search | RateGrid]
    if rates:
        budget, searches = len(rates), {variant: RateGrid(rates) for variant in recipes}
    else:
        searches = {variant: _search(variant, recipe) for variant, recipe in recipes.items()}
    trials: dict[Variant, list[TrialFigures]] = {variant: [] for variant in recipes}
    for first in range(1, budget + 1, ROUND):
        numbers = range(first, min(first + ROUND, budget + 1))
        asked = {}
        for variant, recipe in recipes.items():
            for number, setting in zip(numbers, searches[variant].ask(len(numbers)), strict=True):
                run = trial_run(output, variant, number)
                changed = with_setting(recipe, setting, f"methods {variant.label}", seed=SEED)
                check_same_recipe(run, changed)
                asked[variant, number] = (run, setting, changed)
        _train({run: changed for run, _, changed in asked.values()}, trainings)
        for variant in recipes:
            here = [_figures(number, *asked[variant, number][:2]) for number in numbers]
            searches[variant].tell([trial.accuracy for trial in here])
            trials[variant] += here
    tuned = {variant: _best(variant, recipe, trials[variant]) for variant, recipe in recipes.items()}
    for variant, found in tuned.items():
        report(_described(variant, found, rates))
    return tuned


def _search(variant: Variant, recipe: Recipe) -> Search:
    space, tree = search_space(variant, recipe), recipe.model_dump(mode="json")
    own = {key: value_at(tree, key) for key in space}
    return Search(space, {key: value for key, value in own.items() if value is not None})


def _train(recipes: Mapping[Run, Recipe], trainings: Trainings) -> None:
    by_name = {run.name: run for run in recipes}

    def diverged(failure: Failure) -> bool:
        files.write_text(diverged_path(by_name[failure.training.name]), failure.reason + "\n")
        return True

    missing = {run: recipe for run, recipe in recipes.items() if not has_ended(run)}
    trainings.train(missing, diverged=diverged, split="calibration")


def _figures(number: int, run: Run, setting: dict[str, float]) -> TrialFigures:
    if not run.finished:
        return TrialFigures(number, f"{run.path.parent.name}/{run.name}", setting, None)
    accuracy = run.read_metrics().get("accuracy", {})
    if "calibration" not in accuracy:
        raise RunError(f"{run.metrics_path}: has no accuracy on the calibration split; train the run again")
    accuracies = accuracy["calibration"]["exits"]
    return TrialFigures(number, f"{run.path.parent.name}/{run.name}", setting, statistics.fmean(accuracies))


def _best(variant: Variant, recipe: Recipe, trials: Iterable[TrialFigures]) -> Tuned:
    trials = tuple(trials)
    finished = [(trial.accuracy, trial) for trial in trials if trial.accuracy is not None]
    if not finished:
        raise TrainingError(
            f"methods {variant.label}: the loss was not finite with any of {len(trials)} settings; "
            "lower optimization.lr"
        )
    _, best = max(finished, key=lambda entry: entry[0])
    return Tuned(with_setting(recipe, best.setting, f"methods {variant.label}"), trials, best)


def _described(variant: Variant, found: Tuned, rates: Sequence[float]) -> str:
    if rates:
        rate = found.best.setting[RATE]
        beyond = {
            None: "",
            "highest": ", and the highest: higher ones may be better",
            "lowest": ", and the lowest: lower ones may be better",
        }
        return (
            f"{variant.label}: lr {rate:g} is the best of {len(rates)} on the calibration split: "
            f"{_percent(found.best)}, averaged over exits{beyond[edge(rates, rate)]}"
        )
    setting = described(found.best.setting, found.recipe.model_dump(mode="json")["distillation"])
    return (
        f"{variant.label}: setting {found.best.number} of {len(found.trials)} ({setting}) is the best one on the "
        f"calibration split: {_percent(found.best)}, averaged over exits; the recipe's own: {_percent(found.trials[0])}"
    )


def _percent(trial: TrialFigures) -> str:
    return "diverged" if trial.accuracy is None else f"{100 * trial.accuracy:.2f} %"
