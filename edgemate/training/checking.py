"""What only the parts themselves can tell of a recipe, asked before any data is read."""

from __future__ import annotations

from collections.abc import Callable

import torch

from edgemate.config import Recipe
from edgemate.distillation import Setting, build_method
from edgemate.distillation.teachers.loading import find_teacher
from edgemate.distillation.teachers.teacher import Teacher
from edgemate.errors import RecipeError, UsageError
from edgemate.models import MultiExitModel, build_model
from edgemate.training.early_checks import NO_CUDA_GRAPHS, check_early
from edgemate.training.weightless import weightless


def check_recipe(recipe: Recipe, source: str) -> None:
    """Cut points against the backbone, the method against the heads, the precision against the machine.

    Networks are built without memory for their weights.

    Args:
        recipe: already checked by itself.
        source: what messages call it.

    Raises:
        RecipeError: all problems in one message; where `check_early` finds some, those alone.
    """
    check_early(recipe, source)
    problems: list[str] = []

    def attempt(path: str, build: Callable[[], object]) -> None:
        try:
            build()
        except UsageError as error:
            problems.append(f"{path}: {error}")

    def with_network() -> None:
        # Weights are not fetched for a check, and three channels fit every backbone.
        section = recipe.model.model_copy(
            update={"options": {key: value for key, value in recipe.model.options.items() if key != "pretrained"}}
        )
        with weightless():
            model = build_model(section, recipe.exits, channels=3, classes=2)
            if recipe.distillation.teacher is not None:
                attempt("distillation.teacher", lambda: with_teacher(model, str(recipe.distillation.teacher)))
        if recipe.distillation.teacher is None:  # a method by itself is small, and built faster with memory
            attempt("distillation", lambda: with_method(setting_of(recipe, model, 2)))

    def with_teacher(model: MultiExitModel, reference: str) -> None:
        setting = setting_of(recipe, model, 2, find_teacher(reference).sketch())
        attempt("distillation", lambda: with_method(setting))

    def with_method(setting: Setting) -> None:
        method = build_method(recipe.distillation, setting)
        if setting.ensemble == "learned" and method.mixing() is None:
            problems.append(
                "exits.ensemble: learned is for a method that learns one set of weights: mate, neither frozen nor with "
                "attention; use that, mean or none"
            )
        if recipe.training.precision == "fp16" and method.optimizers():
            names = ", ".join(recipe.distillation.names)
            problems.append(f"training.precision: {names} steps its teacher without fp16's scaling; use bf16 or fp32")

    attempt("exits.at", with_network)
    if recipe.training.precision == "fp16" and not torch.cuda.is_available():
        problems.append("training.precision: fp16 needs a GPU, and there is none here; use auto, bf16 or fp32")
    if recipe.training.precision == "fp16" and recipe.training.accelerator == "cpu" and torch.cuda.is_available():
        problems.append("training.precision: fp16 needs a GPU, and training.accelerator is cpu; use auto, bf16 or fp32")
    if recipe.training.accelerator == "gpu" and not torch.cuda.is_available():
        problems.append("training.accelerator: there is no GPU here; use auto or cpu")
    if recipe.training.cuda_graphs and not torch.cuda.is_available():
        problems.append(NO_CUDA_GRAPHS)
    if problems:
        raise RecipeError(source, problems)


def setting_of(recipe: Recipe, model: MultiExitModel, classes: int, teacher: Teacher | None = None) -> Setting:
    """What a method must know of a network and of the recipe around it."""
    return Setting(
        model.exits,
        classes,
        model.pooled_widths,
        recipe.optimization.label_smoothing,
        model.taps,
        recipe.exits.ensemble,
        unlabeled=recipe.data.unlabeled is not None,
        teacher=teacher,
    )
