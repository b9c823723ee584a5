"""What only the parts themselves can tell of a recipe, asked before any data is read."""

from __future__ import annotations

from collections.abc import Callable

import torch

from edgemate.config import Recipe
from edgemate.distillation import Setting, build_method
from edgemate.distillation.building import teacher_problem
from edgemate.distillation.teacher import Teacher
from edgemate.errors import RecipeError, UsageError
from edgemate.models import MultiExitModel, build_model
from edgemate.training.compiling import missing_compiler
from edgemate.training.teacher import find_teacher
from edgemate.wording import counted


def check_recipe(recipe: Recipe, source: str) -> None:
    """Cut points against the backbone, the method against the heads, the precision against the machine.

    Nothing is allocated: networks are built without memory for their weights.

    Args:
        recipe: already checked by itself.
        source: what messages call it.

    Raises:
        RecipeError: all problems in one message.
    """
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
        with torch.device("meta"):
            model = build_model(section, recipe.exits, channels=3, classes=2)
            problem = teacher_problem(recipe.distillation)
            if problem:
                problems.append(f"distillation.teacher: {problem}")
            else:
                attempt("distillation.teacher", lambda: with_teacher(model))

    def with_teacher(model: MultiExitModel) -> None:
        reference = recipe.distillation.teacher
        teacher = find_teacher(reference).sketch() if reference else None
        setting = setting_of(recipe, model, 2, teacher)
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
        problems.append("training.precision: fp16 needs a GPU, and there is none here; use bf16 or fp32")
    if recipe.training.accelerator == "gpu" and not torch.cuda.is_available():
        problems.append("training.accelerator: there is no GPU here; use auto or cpu")
    problems.extend(_data_on_device_problems(recipe))
    if recipe.training.compile and (missing := missing_compiler()):
        problems.append(f"training.compile: {missing}")
    if recipe.training.cuda_graphs and not (recipe.training.compile and torch.cuda.is_available()):
        problems.append("training.cuda_graphs: it needs training.compile and a GPU; set it to false")
    last = max(recipe.optimization.schedule_options.get("milestones", [0]))
    if last >= recipe.optimization.epochs:
        epochs = counted(recipe.optimization.epochs, "epoch")
        problems.append(f"optimization.schedule_options.milestones: {last:g} is never reached in {epochs}")
    if problems:
        raise RecipeError(source, problems)


def _data_on_device_problems(recipe: Recipe) -> list[str]:
    if not recipe.training.data_on_device:
        return []
    works = "training.data_on_device works with horizontal_flip and random_crop only"
    problems = [
        f"data.augmentation.{i}: {part.name} is not drawn on the device; {works}"
        for i, part in enumerate(recipe.data.augmentation)
        if part.name not in ("horizontal_flip", "random_crop")
    ]
    if recipe.data.unlabelled is not None:
        problems.append("training.data_on_device: it knows one domain only; set it to false, or drop data.unlabelled")
    return problems


def setting_of(recipe: Recipe, model: MultiExitModel, classes: int, teacher: Teacher | None = None) -> Setting:
    """What a method must know of a network and of the recipe around it."""
    return Setting(
        model.exits,
        classes,
        model.pooled_widths,
        recipe.optimization.label_smoothing,
        model.taps,
        recipe.exits.ensemble,
        unlabelled=recipe.data.unlabelled is not None,
        teacher=teacher,
    )
