"""`compare`: one recipe, several methods, several seeds → one table."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgemate.progress import SILENT, Progress

if TYPE_CHECKING:
    from edgemate.api.opening import PathLike, RecipeLike
    from edgemate.comparison import Comparison


@dataclass(frozen=True)
class Compared:
    """A finished comparison.

    Attributes:
        path: the folder of the runs and of `comparison.json`, `comparison.md` and `comparison.png`.
        comparison: the figures of every method and seed.
    """

    path: Path
    comparison: Comparison

    def to_json(self) -> dict[str, Any]:
        """What `comparison.json` holds."""
        return self.comparison.to_json()


def compare(
    recipe: RecipeLike,
    methods: str,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    output: PathLike | None = None,
    overrides: Sequence[str] = (),
    jobs: int | None = None,
    engine: str = "local",
    engine_options: Mapping[str, Any] | None = None,
    tune: int = 0,
    rates: Sequence[float] = (),
    allow_plugins: bool = False,
    notify: Callable[[str], None] | None = None,
    progress: Progress = SILENT,
) -> Compared:
    """Train every method with every seed, all else being equal, and write a table, a plot and JSON.

    Finished runs are kept and unfinished ones are resumed, so the same call completes a comparison that was stopped.

    Args:
        recipe: what all runs share: a file, the name of a shipped recipe, or a Recipe.
        methods: comma-separated, such as `mate,joint_ce` or `mate:proximity=0;alpha=2`.
        seeds: values of `training.seed`.
        output: folder of the runs; `comparisons/NAME` if None, which needs a recipe with a name.
        overrides: `section.key=value` strings that override values of the recipe.
        jobs: trainings at the same time; on one machine they share the cores. None: one per GPU, and 1 where there are
            fewer than two; on a cluster, as many as it has resources for.
        engine: what places the trainings: "local", processes on this machine, or "ray", a Ray cluster.
        engine_options: keyword arguments of the engine; of "ray": address, cpus_per_run, gpus_per_run, retries.
        tune: settings that every method is trained with first, the recipe's own and `tune` - 1 from the ranges that the
            method and the optimizer declare. The best one on the calibration split is trained with all seeds. 0: none.
        rates: learning rates that every method is trained at first, in place of `tune`; the best one of each method on
            the calibration split is trained with all seeds.
        allow_plugins: let the code be imported that the recipes of runs name which this recipe names, such as a
            teacher's; on a cluster, set EDGEMATE_ALLOW_PLUGINS=1 on its nodes.
        notify: called with a line after each training.
        progress: receives how far the trainings are.

    Returns:
        The figures and where they were written.

    Raises:
        RecipeError: the recipe does not hold together with one of the methods.
        DataError: the dataset is missing.
        RunError: a run of another recipe exists in the folder.
        TrainingError: some trainings failed; the others are done.
        UsageError: a method, seed, override or engine cannot be used.

    Example:
        >>> compared = edgemate.compare("digits/resnet8_mate", "mate,joint_ce", seeds=[0, 1])  # doctest: +SKIP
        >>> print((compared.path / "comparison.md").read_text())  # doctest: +SKIP
    """
    from edgemate import plug_ins
    from edgemate.comparison import parse_variants
    from edgemate.comparison.engines.making import make_engine
    from edgemate.comparison.plan import plan_comparison

    # What is wrong and needs no PyTorch to be found comes first: importing it takes seconds.
    with plug_ins.allowed_in_runs(allow_plugins), _recipe_file(recipe, output) as (path, folder):
        variants = parse_variants(methods)
        plan = plan_comparison(path, variants, seeds, folder, overrides=overrides, jobs=jobs, tune=tune, rates=rates)
        make_engine(engine, jobs, next(iter(plan.recipes.values())), engine_options).check(folder)

        from edgemate.comparison import compare as compare_methods
        from edgemate.file_group import together

        with together(folder):  # tables, plot and page
            found = compare_methods(
                path,
                variants,
                seeds,
                folder,
                overrides=overrides,
                jobs=jobs,
                engine=engine,
                engine_options=engine_options,
                tune=tune,
                rates=rates,
                report=notify or (lambda line: None),
                progress=progress,
            )
            from edgemate.report import write_comparison_report

            write_comparison_report(found, folder, progress=progress)
    return Compared(folder, found)


@contextlib.contextmanager
def _recipe_file(given: RecipeLike, output: PathLike | None) -> Iterator[tuple[Path, Path]]:
    """The recipe as a file, and the folder of the comparison."""
    import yaml

    from edgemate.config import Recipe
    from edgemate.config.shipped import find_recipe, run_name
    from edgemate.errors import UsageError

    if not isinstance(given, Recipe):
        path = find_recipe(os.fspath(given))
        yield path, Path(output) if output is not None else Path("comparisons") / run_name(path)
        return
    if output is None:
        raise UsageError("output: a Recipe object has no name; name the folder of the comparison")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(yaml.safe_dump(given.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
        yield path, Path(output)
