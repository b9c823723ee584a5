"""What is wrong with a recipe as a whole, as far as that can be told without importing torch."""

from __future__ import annotations

from edgemate.config import Recipe
from edgemate.distillation.teachers.reference import check_reference
from edgemate.distillation.teachers.requirement import teacher_problem
from edgemate.errors import RecipeError, RunError, UsageError
from edgemate.training.cxx_compiler import missing_compiler
from edgemate.wording import counted

NO_CUDA_GRAPHS = "training.cuda_graphs: it needs training.compile and a GPU; set it to false"


def check_early(recipe: Recipe, source: str) -> None:
    """The teacher, and settings against each other. `check_recipe` does this first, and then asks the parts.

    Args:
        recipe: already checked by itself.
        source: what messages call it.

    Raises:
        RecipeError: all of these problems in one message.
    """
    problems = [*_teacher_problems(recipe), *_data_on_device_problems(recipe)]
    if recipe.training.compile and (missing := missing_compiler()):
        problems.append(f"training.compile: {missing}")
    if recipe.training.cuda_graphs and not recipe.training.compile:
        problems.append(NO_CUDA_GRAPHS)
    last = max(recipe.optimization.schedule_options.get("milestones", [0]))
    if last >= recipe.optimization.epochs:
        epochs = counted(recipe.optimization.epochs, "epoch")
        problems.append(f"optimization.schedule_options.milestones: {last:g} is never reached in {epochs}")
    if problems:
        raise RecipeError(source, problems)


def _teacher_problems(recipe: Recipe) -> list[str]:
    problem = teacher_problem(recipe.distillation)
    if problem is None and recipe.distillation.teacher is not None:
        try:
            check_reference(recipe.distillation.teacher)
        except (UsageError, RunError, RecipeError) as error:
            problem = " ".join(str(error).split())
    return [] if problem is None else [f"distillation.teacher: {problem}"]


def _data_on_device_problems(recipe: Recipe) -> list[str]:
    if not recipe.training.data_on_device:
        return []
    works = "training.data_on_device works with horizontal_flip and random_crop only"
    problems = [
        f"data.augmentation.{i}: {part.name} is not drawn on the device; {works}"
        for i, part in enumerate(recipe.data.augmentation)
        if part.name not in ("horizontal_flip", "random_crop")
    ]
    if recipe.data.unlabeled is not None:
        problems.append("training.data_on_device: it knows one domain only; set it to false, or drop data.unlabeled")
    return problems
