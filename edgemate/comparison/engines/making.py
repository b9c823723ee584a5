"""Makes the engine that a name and options describe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from edgemate.comparison.engines.engine import Engine
from edgemate.config import Recipe
from edgemate.config.options import part_options
from edgemate.config.problems import problems_of
from edgemate.errors import UsageError
from edgemate.registry import ENGINES


def make_engine(name: str, jobs: int | None, recipe: Recipe, options: Mapping[str, Any] | None = None) -> Engine:
    """The engine, not started.

    Args:
        name: a registered engine, or a dotted path.
        jobs: largest number of trainings at the same time; None: as the engine chooses.
        recipe: one of the trainings', which says whether they may use GPUs.
        options: keyword-only arguments of the engine.

    Raises:
        UsageError: the name is unknown, or an option is unknown or out of range.
    """
    model = part_options(ENGINES, name, list(options or {}))
    known = ", ".join(model.model_fields) or "no options"
    for option in options or {}:
        if option not in model.model_fields:
            raise UsageError(f"{option}: engine {name} has no such option; it has {known}")
    try:
        given = model.model_validate(dict(options or {})).model_dump()
    except ValidationError as error:
        raise UsageError("; ".join(problems_of(error, model))) from error
    made: Engine = ENGINES.make(name, Engine, jobs, recipe.training.accelerator != "cpu", **given)
    return made
