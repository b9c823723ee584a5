"""What only the parts themselves can tell of a recipe, asked before any data is read."""

from __future__ import annotations

from collections.abc import Callable

import torch

from edgemate.config import Recipe
from edgemate.distillation import Setting, build_method
from edgemate.errors import RecipeError, UsageError
from edgemate.models import MultiExitModel, build_model


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
            attempt("distillation", lambda: build_method(recipe.distillation, setting_of(model, 2)))

    attempt("exits.at", with_network)
    if recipe.training.precision == "fp16" and not torch.cuda.is_available():
        problems.append("training.precision: fp16 needs a GPU, and there is none here; use bf16 or fp32")
    if recipe.training.accelerator == "gpu" and not torch.cuda.is_available():
        problems.append("training.accelerator: there is no GPU here; use auto or cpu")
    last = max(recipe.optimization.schedule_options.get("milestones", [0]))
    if last >= recipe.optimization.epochs:
        epochs = recipe.optimization.epochs
        problems.append(f"optimization.schedule_options.milestones: {last:g} is never reached in {epochs} epochs")
    if problems:
        raise RecipeError(source, problems)


def setting_of(model: MultiExitModel, classes: int, label_smoothing: float = 0.0) -> Setting:
    """What a method must know of a network."""
    return Setting(model.exits, classes, model.pooled_widths, label_smoothing, model.taps)
