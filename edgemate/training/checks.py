"""What is wrong with a recipe as a whole, found before any data is read.

`check_early` imports no torch. `check_recipe` asks the parts themselves, and imports what it needs when it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgemate.config import Distillation, Recipe
from edgemate.distillation.teachers.reference import check_reference, learns_from_teacher
from edgemate.errors import RecipeError, RunError, UsageError
from edgemate.registry import BACKBONES, HEADS, METHODS, OPTIMIZERS, SCHEDULES
from edgemate.training.batch_checks import batch_problems
from edgemate.training.cxx_compiler import missing_compiler
from edgemate.training.freezing_checks import freezing_problems
from edgemate.wording import counted

if TYPE_CHECKING:
    from edgemate.distillation import Method, Setting
    from edgemate.models import MultiExitModel

NO_CUDA_GRAPHS = "training.cuda_graphs: it needs training.compile and a GPU; set it to false"


def check_early(recipe: Recipe, source: str) -> None:
    """The teacher, and settings against each other. `check_recipe` does this first, and then asks the parts.

    Args:
        recipe: already checked by itself.
        source: what messages call it.

    Raises:
        RecipeError: all of these problems in one message.
    """
    problems = [
        *_teacher_problems(recipe),
        *_cache_problems(recipe),
        *freezing_problems(recipe.training, recipe.distillation.names, _rates(recipe), recipe.data.cache),
        *batch_problems(
            recipe.data,
            recipe.training,
            recipe.distillation.names,
            batch_size=recipe.optimization.batch_size,
            weighs_classes=recipe.optimization.class_weights != "none",
        ),
    ]
    if recipe.optimization.class_weights == "balanced" and recipe.data.sampling == "balanced":
        problems.append("optimization.class_weights: data.sampling is balanced too, which counts twice; drop one")
    if recipe.training.freeze == "statistics" and recipe.model.weights is None:
        problems.append(
            "training.freeze: statistics keeps those of model.weights, and there are none; set these, or freeze none"
        )
    if recipe.training.compile and (missing := missing_compiler()):
        problems.append(f"training.compile: {missing}")
    if recipe.training.cuda_graphs and not recipe.training.compile:
        problems.append(NO_CUDA_GRAPHS)
    last = _last_milestone(recipe)
    if last >= recipe.optimization.epochs:
        epochs = counted(recipe.optimization.epochs, "epoch")
        problems.append(f"optimization.schedule_options.milestones: {last:g} is never reached in {epochs}")
    if problems:
        raise RecipeError(source, problems)


def _last_milestone(recipe: Recipe) -> float:
    """0 where there is none, and for what a user's own schedule calls so, which checks it itself."""
    if recipe.optimization.schedule not in SCHEDULES:
        return 0
    return float(max(recipe.optimization.schedule_options.get("milestones") or [0]))


def teacher_problem(distillation: Distillation) -> str | None:
    """Why these methods do not go with this teacher, or with none; None where they do."""
    needing = [name for name in distillation.names if learns_from_teacher(name)]
    if needing and distillation.teacher is None:
        return f"{needing[0]} needs a teacher and there is none; name a run, a checkpoint in one, or torchvision:NAME"
    if distillation.teacher is not None and not needing:
        return f"{', '.join(distillation.names)} has no use for {distillation.teacher}; leave it out, or use kd"
    return None


def check_recipe(recipe: Recipe, source: str, *, built_later: bool = False) -> None:
    """Cut points against the backbone, the method against the heads, the precision against the machine.

    Networks are built without memory for their weights.

    Args:
        recipe: already checked by itself.
        source: what messages call it.
        built_later: the caller builds the network next, so one with parts of the user's own, which may load weights or
            print, is not built here as well.

    Raises:
        RecipeError: all problems in one message; where `check_early` finds some, those alone.
    """
    check_early(recipe, source)
    import torch

    from edgemate.distillation.building import build_method, setting_of
    from edgemate.distillation.teachers.loading import find_teacher
    from edgemate.models import build_model
    from edgemate.models.weights.runs import find_run
    from edgemate.training.own_steps import check_optimizer, check_schedule
    from edgemate.training.weightless import weightless

    problems: list[str] = []

    def attempt(path: str, build: Callable[[], object]) -> None:
        try:
            build()
        except UsageError as error:
            problems.append(f"{path}: {error}")

    def with_network() -> None:
        # Weights are not fetched for a check, and three channels fit every backbone but not the weights of every run.
        options = {key: value for key, value in recipe.model.options.items() if key != "pretrained"}
        weights = recipe.model.weights
        if weights is not None and weights.startswith("run:"):
            find_run(Path(weights.removeprefix("run:")))
            weights = None
        section = recipe.model.model_copy(update={"options": options, "weights": weights})
        with weightless():
            model = build_model(section, recipe.exits, channels=3, classes=2)
            if recipe.distillation.teacher is not None:
                attempt("distillation.teacher", lambda: with_teacher(model, str(recipe.distillation.teacher)))
        if recipe.distillation.teacher is None:  # a method by itself is small, and built faster with memory
            attempt("distillation", lambda: with_method(setting_of(recipe, model, 2)))

    def with_teacher(model: MultiExitModel, reference: str) -> None:
        setting = setting_of(recipe, model, 2, find_teacher(reference).untrained())
        attempt("distillation", lambda: with_method(setting))

    def with_method(setting: Setting) -> None:
        problems.extend(method_problems(recipe, build_method(recipe.distillation, setting)))

    # The graph of a network is cut for the size of the dataset's images, once these are known.
    checkable = recipe.model.backbone in BACKBONES and BACKBONES.library(recipe.model.backbone) is None
    if checkable and not (built_later and _has_own_network(recipe)):
        attempt("exits.at", with_network)
    if not _optimizer_is_ours(recipe):
        attempt("optimization.optimizer", lambda: check_optimizer(recipe.optimization))
    if recipe.optimization.schedule not in SCHEDULES:
        attempt("optimization.schedule", lambda: check_schedule(recipe.optimization))
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


def method_problems(recipe: Recipe, method: Method) -> list[str]:
    """What is wrong with a method beside the rest of the recipe."""
    from edgemate.training.mixup import mixup_of

    problems = []
    if method.setting.ensemble == "learned" and method.mixing() is None:
        problems.append(
            "exits.ensemble: learned is for a method that learns one set of weights: mate, neither frozen nor with "
            "attention; use that, mean or none"
        )
    try:
        mixup_of(recipe.data, recipe.training.seed, method)
    except UsageError as error:
        problems.append(f"data: {error}")
    if recipe.optimization.accumulate > 1 and method.keeps_state:
        names = ", ".join(recipe.distillation.names)
        problems.append(
            f"optimization.accumulate: it calls {names} several times per step, which with these options counts as "
            "several steps; set it to 1"
        )
    if recipe.training.precision == "fp16" and method.optimizers():
        names = ", ".join(recipe.distillation.names)
        problems.append(f"training.precision: {names} steps its teacher without fp16's scaling; use bf16 or fp32")
    return problems


def _has_own_network(recipe: Recipe) -> bool:
    """Whether a head or a method is the user's own, by a dotted path; such backbones are never built for a check."""
    return recipe.exits.head not in HEADS or any(name not in METHODS for name in recipe.distillation.names)


def _optimizer_is_ours(recipe: Recipe) -> bool:
    """Whether the optimizer is a registered one, whose options have been checked."""
    optimizer = recipe.optimization.optimizer
    return optimizer in OPTIMIZERS and OPTIMIZERS.library(optimizer) is None


def _rates(recipe: Recipe) -> dict[str, float]:
    return {name: getattr(recipe.optimization, name) for name in ("backbone_lr_scale", "layer_decay")}


def _teacher_problems(recipe: Recipe) -> list[str]:
    problem = teacher_problem(recipe.distillation)
    if problem is None and recipe.distillation.teacher is not None:
        try:
            check_reference(recipe.distillation.teacher)
        except (UsageError, RunError, RecipeError) as error:
            problem = " ".join(str(error).split())
    return [] if problem is None else [f"distillation.teacher: {problem}"]


def _cache_problems(recipe: Recipe) -> list[str]:
    if recipe.data.cache != "device":
        return []
    works = "data.cache: device works with random_crop, horizontal_flip and rand_augment only"
    problems = [
        f"data.augmentation.{i}: {part.name} is not made on the device; {works}"
        for i, part in enumerate(recipe.data.augmentation)
        if part.name not in ("random_crop", "horizontal_flip", "rand_augment")
    ]
    if recipe.data.unlabeled is not None:
        problems.append("data.cache: device knows one domain only; set it to ram or none, or drop data.unlabeled")
    return problems
