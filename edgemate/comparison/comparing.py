"""`compare`: a run for every method and seed, and a table of all runs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgemate import files
from edgemate.comparison.comparison_plot import comparison_png
from edgemate.comparison.engines.making import make_engine
from edgemate.comparison.place import comparing_in
from edgemate.comparison.plan import Key, check_same_recipe, plan_comparison
from edgemate.comparison.result import Comparison, MethodFigures, agreed_metadata, figures_of
from edgemate.comparison.settings import with_setting
from edgemate.comparison.table import comparison_markdown
from edgemate.comparison.trainings import Trainings
from edgemate.comparison.tuning import Tuned
from edgemate.comparison.tuning import tune as tune_methods
from edgemate.comparison.variants import Variant
from edgemate.config import Recipe
from edgemate.errors import RunError
from edgemate.evaluation import trained_model
from edgemate.file_group import together
from edgemate.json_files import read_json
from edgemate.machine import machine_metadata
from edgemate.models import Costs, count_costs
from edgemate.progress import SILENT, Progress
from edgemate.runs import Run
from edgemate.training import check_recipe
from edgemate.wording import counted


def compare(
    path: Path,
    variants: Sequence[Variant],
    seeds: Sequence[int],
    output: Path,
    *,
    overrides: Sequence[str] = (),
    jobs: int | None = None,
    engine: str = "local",
    engine_options: Mapping[str, Any] | None = None,
    tune: int = 0,
    rates: Sequence[float] = (),
    report: Callable[[str], None] = print,
    progress: Progress = SILENT,
) -> Comparison:
    """Train every variant with every seed and write `comparison.json`, `comparison.md` and `comparison.png`.

    All runs share network, heads, augmentation, schedule, splits and, per seed, the order of the images and the first
    weights; only the `distillation` section differs. Finished runs are kept, and unfinished ones are
    resumed, so the same call completes a comparison that was interrupted at any moment, with any engine. All variants
    are trained with one seed before the next seed begins.

    Args:
        path: the shared recipe; its own method is not trained unless it is one of the variants.
        variants: one per row of the table.
        seeds: values of `training.seed`.
        output: folder of the runs, each `LABEL-seedS`, and of the results.
        overrides: `section.key=value` strings that override the recipe.
        jobs: trainings at the same time; None: as the engine chooses.
        engine: name of what places the trainings.
        engine_options: its options.
        tune: settings that every method is tried with first, the recipe's own included (`edgemate.comparison.tuning`).
        rates: learning rates that every method is tried with first, in place of `tune`.
        report: called with a line of text for each change to the recipe and after each training.
        progress: advanced a few times a second, with the state of the running trainings.

    Raises:
        RecipeError: the recipe is not valid with one of the variants, or keeps the best epoch's weights.
        RunError: a run exists already, of another recipe or in another format; or another process compares there.
        TrainingError: some trainings failed; the others are finished.
        UsageError: there are no seeds, one is given twice, jobs is less than 1, or the engine cannot be used.
    """
    plan = plan_comparison(path, variants, seeds, output, overrides=overrides, jobs=jobs, tune=tune, rates=rates)
    recipes, runs = plan.recipes, plan.runs
    placed = make_engine(engine, jobs, next(iter(recipes.values())), engine_options)
    placed.check(output)
    for note in plan.notes:
        report(note)
    for variant in variants:
        check_recipe(recipes[variant, seeds[0]], f"methods {variant.label}")

    everything = [*runs.values(), *itertools.chain.from_iterable(plan.trials.values())]
    tuned: dict[Variant, Tuned] = {}
    with comparing_in(output), Trainings(output, placed, everything, report, progress) as trainings:
        if tune or rates:
            first = {variant: recipes[variant, seeds[0]] for variant in variants}
            tuned = tune_methods(first, tune, output, trainings, report, rates)
            recipes = {
                (variant, seed): with_setting(recipe, tuned[variant].best.setting, f"methods {variant.label}")
                for (variant, seed), recipe in recipes.items()
            }
            for key, recipe in recipes.items():
                check_same_recipe(runs[key], recipe)
        trainings.train({runs[key]: recipe for key, recipe in recipes.items()})
        # Where nothing was trained, how it was stays as it is written.
        placing = None if trainings.started else _stored_placing(output)
        at_a_time, threads = placing or (placed.jobs, placed.threads)
        found = _gather(variants, seeds, recipes, runs, tuned, rates, output.resolve().name, at_a_time, threads)
        with together(output):
            files.write_json(output / "comparison.json", found.to_json())
            files.write_text(output / "comparison.md", comparison_markdown(found))
            files.write_bytes(output / "comparison.png", comparison_png(found))
    return found


def _stored_placing(output: Path) -> tuple[int, int] | None:
    """Trainings at a time and threads of each, of an earlier call; None if it did not finish."""
    try:
        tree = read_json(output / "comparison.json")
        found = tree["jobs"], tree["threads"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if all(type(number) is int and number > 0 for number in found) else None


def _gather(
    variants: Sequence[Variant],
    seeds: Sequence[int],
    recipes: Mapping[Key, Recipe],
    runs: Mapping[Key, Run],
    tuned: Mapping[Variant, Tuned],
    rates: Sequence[float],
    name: str,
    jobs: int,
    threads: int,
) -> Comparison:
    metadata = agreed_metadata([runs[key] for key in itertools.product(variants, seeds)])
    methods = []
    for variant in variants:
        costs = _costs(runs[variant, seeds[0]])
        methods.append(
            MethodFigures(
                label=variant.label,
                distillation=recipes[variant, seeds[0]].model_dump(mode="json")["distillation"],
                macs=tuple(exit.macs for exit in costs.exits),
                chained_macs=tuple(exit.chained_macs for exit in costs.exits),
                runs=tuple(figures_of(runs[variant, seed], seed) for seed in seeds),
                trials=tuned[variant].trials if tuned else (),
                best=tuned[variant].best.number if tuned else None,
            )
        )
    shared = recipes[variants[0], seeds[0]].model_dump(mode="json")
    del shared["distillation"], shared["training"]["seed"]
    if tuned:
        del shared["optimization"]["lr"]  # in the settings, one per method
    return Comparison(
        name=name,
        recipe=shared,
        machine=machine_metadata(),
        jobs=jobs,
        threads=threads,
        seeds=tuple(seeds),
        cuts=metadata.cuts,
        images=metadata.images,
        methods=tuple(methods),
        tuned=len(methods[0].trials),
        rates=tuple(rates),
    )


def _costs(run: Run) -> Costs:
    """Costs of the method's own network, which differ between methods that ensemble exits and others that do not."""
    known = run.read_metadata()
    metadata, cuts = known.input, known.cuts
    costs = count_costs(trained_model(run), (metadata["channels"], metadata["height"], metadata["width"]))
    if len(costs.exits) != len(cuts):
        raise RunError(
            f"{run.metadata_path}: has {counted(len(cuts), 'cut')}; the network has {len(costs.exits)} exits"
        )
    return costs
