"""`compare`: a run for every method and seed, and a table of all runs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import yaml

from edgemate import files
from edgemate.comparison.comparison_plot import comparison_png
from edgemate.comparison.plan import Key, plan_comparison
from edgemate.comparison.result import Comparison, MethodFigures, figures_of
from edgemate.comparison.running import Training, progress_line, run_all, threads_each
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
    report: Callable[[str], None] = print,
    progress: Progress = SILENT,
) -> Comparison:
    """Train every variant with every seed and write `comparison.json`, `comparison.md` and `comparison.png`.

    All runs share network, heads, augmentation, schedule, splits and, per seed, the order of the images and the first
    weights; only the `distillation` section differs. Finished runs are kept, and unfinished ones are
    resumed, so the same call completes a comparison that was interrupted at any moment. All variants are trained with
    one seed before the next seed begins.

    Args:
        path: the shared recipe; its own method is not trained unless it is one of the variants.
        variants: one per row of the table.
        seeds: values of `training.seed`.
        output: folder of the runs, each `LABEL-seedS`, and of the results.
        overrides: `section.key=value` strings that override the recipe.
        jobs: trainings at the same time.
        report: called with a line of text for each change to the recipe and after each training.
        progress: advanced a few times a second, with the state of the running trainings.

    Raises:
        RecipeError: the recipe is not valid with one of the variants, or keeps the best epoch's weights.
        RunError: a run exists already, of another recipe or in another format.
        TrainingError: some trainings failed; the others are finished.
        UsageError: there are no seeds, one is given twice, or jobs is less than 1.
    """
    plan = plan_comparison(path, variants, seeds, output, overrides=overrides, jobs=jobs)
    recipes, runs = plan.recipes, plan.runs
    for note in plan.notes:
        report(note)
    for variant in variants:
        check_recipe(recipes[variant, seeds[0]], f"methods {variant.label}")

    threads = threads_each(jobs)
    _train_missing(recipes, runs, output, jobs, threads, report, progress)
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
    report: Callable[[str], None],
    progress: Progress,
) -> None:
    trainings = []
    for key, recipe in recipes.items():
        run = runs[key]
        if run.finished:
            continue
        if run.path.is_dir() and not any(run.path.iterdir()):
            run.path.rmdir()  # the process was killed between making the folder and writing its first file
        resolved = output / "recipes" / f"{run.name}.yaml"
        files.write_text(resolved, yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
        trainings.append(Training(run.name, resolved, run.path, output / "logs" / f"{run.name}.log"))
    done = len(runs) - len(trainings)
    if done:
        report(f"{done} of {counted(len(runs), 'run')} {'is' if done == 1 else 'are'} finished already")
    counter = itertools.count(done + 1)

    def finished(training: Training, seconds: float) -> None:
        figures = Run(training.folder).read_metrics()["accuracy"]["test"]
        shown = " ".join(f"{100 * accuracy:5.2f}" for accuracy in [*figures["exits"], figures["ensemble"]])
        report(f"{next(counter):>3}/{len(runs)}  {training.name}: exits and ensemble {shown} %  {seconds:.0f} s")

    def on_poll(running: Sequence[Training], waiting: int) -> None:
        here = len(runs) - len(running) - waiting
        progress.advance(here, len(runs), lambda: "\n".join(progress_line(training) for training in running))

    if trainings:
        progress.step("trainings")
    run_all(trainings, jobs=jobs, threads=threads, on_finished=finished, on_poll=on_poll)


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
    """Costs of the method's own network, which differ between methods that ensemble exits and others that do not."""
    metadata = run.read_metadata().input
    return count_costs(trained_model(run), (metadata["channels"], metadata["height"], metadata["width"]))
