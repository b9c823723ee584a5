"""Which runs belong to a comparison."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from edgemate.comparison import parse_variants
from edgemate.comparison.plan import check_same_recipe, plan_comparison
from edgemate.comparison.trials import SEED
from edgemate.config import Recipe
from edgemate.errors import RunError, UsageError
from edgemate.runs import Run
from edgemate.training.input_defaults import with_input_defaults
from recipes import SMALL, small_recipe


@pytest.fixture
def written() -> Recipe:
    """A recipe that leaves the preparation of images to the weights."""
    recipe = small_recipe("model.backbone=timm/tf_efficientnet_lite0", "model.options={}", "exits.at=[blocks.3]")
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"weights": "pretrained"})})


@pytest.fixture
def begun(finished_run: Run, tmp_path: Path, written: Recipe) -> Run:
    """A run whose training has filled in what the weights say."""
    data = with_input_defaults(written.data, written.model.backbone, written.model.weights)
    assert data != written.data
    run = Run(Path(shutil.copytree(finished_run.path, tmp_path / "run")))
    run.write_recipe(written.model_copy(update={"data": data}))
    return run


def test_a_run_of_pretrained_weights_is_of_the_same_recipe(begun: Run, written: Recipe) -> None:
    check_same_recipe(begun, written)


def test_another_preparation_of_the_images_is_another_recipe(begun: Run, written: Recipe) -> None:
    other = written.model_copy(update={"data": written.data.model_copy(update={"mean": [0.1]})})
    with pytest.raises(RunError, match=r"data\.mean is \[0\.5\] there, \[0\.1\] here"):
        check_same_recipe(begun, other)
    without = written.model_copy(update={"model": written.model.model_copy(update={"weights": None})})
    with pytest.raises(RunError, match="is a run of another recipe"):
        check_same_recipe(begun, without)


def test_the_seed_of_trials_is_refused_beside_them(tmp_path: Path) -> None:
    recipe = Path(__file__).parents[2] / "recipes" / "digits" / "resnet8_mate.yaml"
    variants = parse_variants("mate")
    with pytest.raises(UsageError, match=f"seeds: {SEED} is that of the trials"):
        plan_comparison(recipe, variants, [0, SEED], tmp_path, tune=2)
    assert plan_comparison(recipe, variants, [0, SEED], tmp_path)


@pytest.mark.parametrize(("methods", "notes"), [("joint_ce,last_exit", 1), ("joint_ce,mate:proximity=0", 0)])
def test_options_of_a_method_that_is_not_compared_are_noted(tmp_path: Path, methods: str, notes: int) -> None:
    path, overrides = tmp_path / "recipe.yaml", ["distillation.options.alpha=2"]
    path.write_text(yaml.safe_dump(SMALL))
    plan = plan_comparison(path, parse_variants(methods), [0], tmp_path / "runs", overrides=overrides)
    assert len(plan.notes) == notes
    assert all("override of distillation.options has no effect: mate" in note for note in plan.notes)
