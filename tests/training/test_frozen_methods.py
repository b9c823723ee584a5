"""Every method with a frozen backbone: it trains the heads, or it is refused in one line before any work."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

from edgemate.errors import RecipeError
from edgemate.models import build_model
from edgemate.registry import METHODS
from edgemate.runs import Run, read_tensors
from edgemate.training import train as train_run
from recipes import small_recipe

FROZEN = ("training.freeze=backbone", "data.train_limit=64", "optimization.epochs=1")
READS_IMAGES = ("dfa", "kd", "prokt", "rco", "safe_kd", "uda_kd", "wsl")
NEEDS_TEACHER = tuple(name for name in READS_IMAGES if name != "safe_kd")


def train(path: Path, *overrides: str) -> Run:
    return train_run(small_recipe(*overrides), path, console=Console(file=io.StringIO()))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    overrides = ("exits.at=[stage3]", "exits.head=linear", "exits.options={}", "distillation.method=joint_ce")
    path = tmp_path_factory.mktemp("runs") / "teacher"
    return str(train(path, *overrides, "data.train_limit=64", "training.keep_every=1", "optimization.epochs=2").path)


def sections(method: str, teacher: str) -> tuple[str, ...]:
    overrides = [f"distillation.method={method}"]
    if method in NEEDS_TEACHER:
        overrides.append(f"distillation.teacher={teacher}")
    if method == "uda_kd":
        overrides.append("data.unlabeled={corruptions: [invert]}")
    return (*FROZEN, *overrides)


def check_trained(run: Run, seed: int = 0) -> None:
    """The stages are as `small_recipe` begins with them, and the first exit's classifier is not."""
    recipe = run.read_recipe()
    torch.manual_seed(seed)
    before = build_model(recipe.model, recipe.exits, 1, 10).state_dict()
    after = read_tensors(run.model_path)
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("stages."))
    assert not torch.equal(before["heads.0.classifier.weight"], after["heads.0.classifier.weight"])


@pytest.mark.parametrize("method", METHODS.names())
def test_on_cached_features_a_method_trains_or_is_refused_in_one_line(
    method: str, teacher: str, tmp_path: Path
) -> None:
    overrides = sections(method, teacher)
    if method not in (*READS_IMAGES, "gradient_equilibrium"):
        check_trained(train(tmp_path / "run", *overrides))
        return
    with pytest.raises(RecipeError) as caught:
        train(tmp_path / "run", *overrides)
    assert not (tmp_path / "run").exists()
    (problem,) = caught.value.problems
    assert method in problem
    assert ("set training.cache_augmentations to 0" in problem) == (method in READS_IMAGES)


@pytest.mark.parametrize("method", READS_IMAGES)
def test_without_a_cache_a_method_that_reads_images_trains(method: str, teacher: str, tmp_path: Path) -> None:
    check_trained(train(tmp_path / "run", *sections(method, teacher), "training.cache_augmentations=0"))


def test_among_several_methods_the_one_that_reads_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cache_augmentations: safe_kd reads the images"):
        train(tmp_path / "run", *FROZEN, "distillation.methods=[mate, safe_kd]")


def test_unlabeled_images_that_no_method_uses_do_not_matter(tmp_path: Path) -> None:
    run = train(tmp_path / "run", *FROZEN, "data.unlabeled={corruptions: [invert]}")
    check_trained(run)
    assert "target_test" in run.read_metrics()["accuracy"]
