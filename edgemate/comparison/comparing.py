"""`compare`: every method with every seed, each an ordinary run folder, and the table of all."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import yaml

from edgemate import files
from edgemate.comparison.plan import Key, plan_comparison
from edgemate.comparison.plot import comparison_png
from edgemate.comparison.result import Comparison, MethodFigures, figures_of
from edgemate.comparison.running import Training, how_far, run_all, threads_each
from edgemate.comparison.table import comparison_markdown
from edgemate.comparison.variants import Variant
from edgemate.config import Recipe
from edgemate.evaluation import trained_model
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
    jobs: int = 1,
    tell: Callable[[str], None] = print,
    progress: Progress = SILENT,
) -> Comparison:
    """Train every variant with every seed and write `comparison.json`, `comparison.md` and `comparison.png`.

    All runs share network, heads, augmentation, schedule, splits and, per seed, the order of the images and the first
    weights; only the `distillation` section differs. Runs that are finished are left as they are, one that was begun is
    gone on with, so the same command finishes a comparison that was stopped at any moment. A seed is gone through with
    all variants before the next one begins.

    Args:
        path: the recipe that all share; its method stays out unless it is among the variants.
        variants: one per row.
        seeds: for `training.seed`.
        output: folder of the runs, `LABEL-seedS` each, and of what is written.
        overrides: `section.key=value` strings laid over the recipe.
        jobs: trainings at the same time.
        tell: called with a line after each training.
        progress: told how far those are that go on, a few times a second.

    Raises:
        RecipeError: the recipe, with one of the variants, does not hold together, or keeps the best epoch's weights.
        RunError: a run is there already, of another recipe.
        TrainingError: some trainings failed; the others are done.
        UsageError: no seeds, one twice, or no jobs.
    """
    plan = plan_comparison(path, variants, seeds, output, overrides=overrides, jobs=jobs)
    recipes, runs = plan.recipes, plan.runs
    for note in plan.notes:
        tell(note)
    for variant in variants:
        check_recipe(recipes[variant, seeds[0]], f"methods {variant.label}")

    threads = threads_each(jobs)
    _train_missing(recipes, runs, output, jobs, threads, tell, progress)
    found = _gather(variants, seeds, recipes, runs, output.resolve().name, jobs, threads)
    files.write_json(output / "comparison.json", found.to_json())
    files.write_text(output / "comparison.md", comparison_markdown(found))
    files.write_bytes(output / "comparison.png", comparison_png(found))
    return found


def _train_missing(
    recipes: Mapping[Key, Recipe],
    runs: Mapping[Key, Run],
    output: Path,
    jobs: int,
    threads: int,
    tell: Callable[[str], None],
    progress: Progress,
) -> None:
    trainings = []
    for key, recipe in recipes.items():
        run = runs[key]
        if run.finished:
            continue
        if run.path.is_dir() and not any(run.path.iterdir()):
            run.path.rmdir()  # a kill between making the folder and its first file
        resolved = output / "recipes" / f"{run.name}.yaml"
        files.write_text(resolved, yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
        trainings.append(Training(run.name, resolved, run.path, output / "logs" / f"{run.name}.log"))
    done = len(runs) - len(trainings)
    if done:
        tell(f"{done} of {counted(len(runs), 'run')} {'is' if done == 1 else 'are'} finished already")
    counter = itertools.count(done + 1)

    def finished(training: Training, seconds: float) -> None:
        figures = Run(training.folder).read_metrics()["accuracy"]["test"]
        shown = " ".join(f"{100 * share:5.2f}" for share in [*figures["exits"], figures["ensemble"]])
        tell(f"{next(counter):>3}/{len(runs)}  {training.name}: exits and ensemble {shown} %  {seconds:.0f} s")

    def going_on(running: Sequence[Training], waiting: int) -> None:
        here = len(runs) - len(running) - waiting
        progress.advance(here, len(runs), lambda: "\n".join(how_far(training) for training in running))

    if trainings:
        progress.step("trainings")
    run_all(trainings, jobs=jobs, threads=threads, finished=finished, going_on=going_on)


def _gather(
    variants: Sequence[Variant],
    seeds: Sequence[int],
    recipes: Mapping[Key, Recipe],
    runs: Mapping[Key, Run],
    name: str,
    jobs: int,
    threads: int,
) -> Comparison:
    metadata = runs[variants[0], seeds[0]].read_metadata()
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
            )
        )
    shared = recipes[variants[0], seeds[0]].model_dump(mode="json")
    del shared["distillation"], shared["training"]["seed"]
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
    )


def _costs(run: Run) -> Costs:
    """Counted on each method's own network: what is deployed may differ where exits answer together."""
    metadata = run.read_metadata().input
    return count_costs(trained_model(run), (metadata["channels"], metadata["height"], metadata["width"]))
