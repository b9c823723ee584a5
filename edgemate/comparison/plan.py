"""The runs of a comparison, and all checks of them that do not need torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgemate import files
from edgemate.comparison.place import check_inside, check_nobody_compares_in
from edgemate.comparison.rate_grid import check_rates
from edgemate.comparison.search import check_installed
from edgemate.comparison.trials import SEED, has_ended, trial_run
from edgemate.comparison.variants import Variant, method_of
from edgemate.config import Recipe
from edgemate.config.fitting import fit_to_epochs
from edgemate.config.loading import read_tree
from edgemate.config.merging import merge, parse_overrides
from edgemate.config.schema import FILLED_BY_WEIGHTS
from edgemate.data import check_data
from edgemate.errors import RecipeError, RunError, UsageError
from edgemate.output_place import check_outside_bundles
from edgemate.runs import Run
from edgemate.training import check_early

Key = tuple[Variant, int]


@dataclass(frozen=True)
class Plan:
    """The runs of a comparison by variant and seed, in the order of training.

    Attributes:
        recipes: the recipe of each run.
        runs: the folder of each run.
        trials: the folders of each method's trials, in order; empty lists if nothing is tuned.
        notes: a sentence for each value that was changed to fit the others, and for options that no run has.
    """

    recipes: dict[Key, Recipe]
    runs: dict[Key, Run]
    trials: dict[Variant, list[Run]]
    notes: tuple[str, ...] = ()


def plan_comparison(
    path: Path,
    variants: Sequence[Variant],
    seeds: Sequence[int],
    output: Path,
    *,
    overrides: Sequence[str] = (),
    jobs: int | None = None,
    tune: int = 0,
    rates: Sequence[float] = (),
) -> Plan:
    """Read and check all recipes. Arguments are those of `compare`.

    Raises:
        RecipeError: the recipe is not valid with one of the variants, or keeps the best epoch's weights.
        DataError: the dataset's files are missing.
        RunError: a run exists already, of another recipe or in another format; something else has the place of what is
            written; or another process compares there.
        UsageError: there are no seeds, one is given twice or is that of the trials, jobs is less than 1, an override
            has no effect, the folder is in a bundle, tuning needs what is not installed, rates are not numbers to
            train at, or both `tune` and `rates` are given.
        OSError: the output folder cannot be written to.
    """
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise UsageError(f"seeds '{','.join(map(str, seeds))}': must be different, not negative, and one at least")
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs must be at least 1, not {jobs}")
    if tune and rates:
        raise UsageError("tune and rates: give one of them; both choose a setting per method")
    if (tune or rates) and SEED in seeds:
        name = "tune" if tune else "rates"
        raise UsageError(f"seeds: {SEED} is that of the trials that `{name}` chooses by; give another one")
    if tune:
        check_installed()
    if rates:
        check_rates(rates)
    written, over = read_tree(path), parse_overrides(overrides)
    tree, notes = fit_to_epochs(merge(written, over), written, over)
    recipes = {(variant, seed): variant.recipe(tree, seed) for seed, variant in itertools.product(seeds, variants)}
    for variant in variants:
        check_early(recipes[variant, seeds[0]], f"methods {variant.label}")
    _check_used(over, variants)
    _check_last_weights(path, recipes.values())
    runs = {key: Run(output / f"{key[0].folder}-seed{key[1]}") for key in recipes}
    trials = {
        variant: [trial_run(output, variant, number) for number in range(1, (len(rates) or tune) + 1)]
        for variant in variants
    }
    everything = [*runs.values(), *itertools.chain.from_iterable(trials.values())]
    check_outside_bundles(output)
    check_inside(output, everything)
    for (variant, seed), recipe in recipes.items():
        if tune or rates:  # their recipes are known once all trials have ended
            _check_begun_after(runs[variant, seed], trials[variant])
        else:
            check_same_recipe(runs[variant, seed], recipe)
    check_nobody_compares_in(output)
    files.check_folder(output)
    if not all(has_ended(run) for run in everything):
        check_data(recipes[variants[0], seeds[0]].data)
    return Plan(recipes, runs, trials, (*notes, *_unused_options(tree, over, variants)))


def _check_used(over: Mapping[str, Any], variants: Sequence[Variant]) -> None:
    """Raise UsageError for an override that no run would follow. A recipe may have such a value for `train`."""
    training, distillation = over.get("training"), over.get("distillation")
    if isinstance(training, Mapping) and "seed" in training:
        raise UsageError("override training.seed: every run has one of `seeds`; leave it out")
    if not isinstance(distillation, Mapping):
        return
    if distillation.get("methods") is not None:
        raise UsageError("override distillation.methods: every run has one of `methods`; leave it out")
    if distillation.get("teacher") is not None and not any(variant.needs_teacher for variant in variants):
        raise UsageError("override distillation.teacher: none of the methods learns from a teacher; leave it out")


def _unused_options(tree: Mapping[str, Any], over: Mapping[str, Any], variants: Sequence[Variant]) -> list[str]:
    """A note where options are overridden of a method that is not compared; another call may compare it with these."""
    distillation = over.get("distillation")
    if not isinstance(distillation, Mapping) or not distillation.get("options"):
        return []
    method = method_of(tree["distillation"])
    if any(variant.inherits(method) for variant in variants):
        return []
    return [
        f"the override of distillation.options has no effect: {method}, the recipe's method, is not compared alone; "
        "options of other methods are written after their names, such as mate:alpha=2"
    ]


def _check_last_weights(path: Path, recipes: Iterable[Recipe]) -> None:
    if any(recipe.training.weights == "best" for recipe in recipes):
        raise RecipeError(
            str(path),
            ["training.weights: must be last in a comparison: choosing an epoch per run favors some methods"],
        )
    if any(recipe.training.patience is not None for recipe in recipes):
        raise RecipeError(
            str(path),
            ["training.patience: must be absent in a comparison: methods would train for different numbers of epochs"],
        )


def check_same_recipe(run: Run, recipe: Recipe) -> None:
    """Raise RunError if the folder has a run of another recipe, or one in another format."""
    if not run.recipe_path.is_file():
        return
    run.check_format()
    there, here = run.read_recipe().model_dump(mode="json"), recipe.model_dump(mode="json")
    if recipe.model.weights is not None:
        # The weights, which are compared themselves, have filled these in when the training began.
        there["data"] |= {key: None for key in FILLED_BY_WEIGHTS if here["data"][key] is None}
    if there == here:
        return
    key, old, new = next(_differences(there, here))
    raise RunError(
        f"{run.path}: is a run of another recipe ({key} is {old!r} there, {new!r} here); "
        "choose another output folder, or delete that one"
    )


def _check_begun_after(run: Run, trials: Sequence[Run]) -> None:
    """Raise RunError if a tuned method's run began before its trials ended: it may have another setting."""
    missing = next((trial for trial in trials if not has_ended(trial)), None)
    if missing is not None and run.recipe_path.is_file():
        raise RunError(
            f"{run.path}: was begun without tuning, or with fewer settings ({missing.name} is missing); "
            "choose another output folder, or delete that one"
        )


def _differences(there: Mapping[str, Any], here: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    for key in dict.fromkeys([*there, *here]):
        old, new = there.get(key), here.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key}", old, new
