from pathlib import Path

import pytest

from edgemate.config import Recipe, load_recipe
from edgemate.config.shipped import run_name, shipped_recipes
from edgemate.runs import Run, RunMetadata
from edgemate.training import check_recipe

RECIPES = shipped_recipes()
BY_RUN = {run_name(path): path for path in RECIPES.values()}


@pytest.mark.parametrize("name", RECIPES)
def test_every_shipped_recipe_is_valid(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe(RECIPES[name])
    teacher = recipe.distillation.teacher
    if teacher is not None and teacher.startswith("runs/"):
        monkeypatch.chdir(tmp_path)
        pretend_run(Path(teacher), load_recipe(BY_RUN[teacher.split("/")[1]]))
    check_recipe(recipe, name)


def pretend_run(path: Path, recipe: Recipe) -> None:
    """What a check reads of the run that a recipe makes; files that it only looks for are empty."""
    run = Run.create(path)
    run.write_recipe(recipe)
    pixels = {"channels": 1, "height": 28, "width": 28, "resize": None, "center_crop": None}
    run.write_metadata(RunMetadata(recipe.data.name, pixels | {"mean": [0.0], "std": [1.0]}, ("a", "b"), (), {}))
    run.write_metrics({})
    kept = recipe.training.keep_every
    epochs = range(kept, recipe.optimization.epochs + 1, kept) if kept else []
    logits = [run.logits_path(split) for split in ("calibration", "test")]
    for file in (run.model_path, run.golden_path, *logits, *map(run.epoch_path, epochs)):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


@pytest.mark.parametrize("name", RECIPES)
def test_the_first_line_is_the_command_that_runs_it(name: str) -> None:
    first = RECIPES[name].read_text().splitlines()[0]
    assert first == f"# edgemate train recipes/{name}.yaml"
