"""The recipe in a run's folder, which may be somebody else's: reading it imports nothing that it names.

The recipe that the user trains by is the user's own and may name any dotted path. A run is a folder that is copied and
shared. Its recipe names registered parts only, unless the user allows its plug-ins, or the user's own recipe, read
before in this process, names the same: so `edgemate train RECIPE --resume` needs no word.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgemate import plug_ins
from edgemate.config.parts import dotted_names
from edgemate.config.problems import problems_of
from edgemate.config.schema import Recipe
from edgemate.errors import RecipeError

# What training writes beside a run's recipe.
_BESIDE = ("metadata.json", "environment.json", "plug_ins.json")


def is_of_a_run(path: Path) -> bool:
    """Whether a recipe's file is that of a run."""
    return path.name == "recipe.yaml" and any((path.parent / name).exists() for name in _BESIDE)


def check_run_recipe(tree: Mapping[str, Any], path: Path) -> None:
    """Check that the recipe of a run names nothing that would be imported, and no other file.

    Args:
        tree: the recipe as it is written.
        path: of its file, for messages.

    Raises:
        RecipeError: it names a dotted path, extends another recipe, or is not valid.
    """
    if "extends" in tree:
        raise RecipeError(str(path), ["extends: the recipe of a run is whole, and names no other file"])
    try:
        whole = Recipe.model_validate(dict(tree)).model_dump()  # a name may be written in more than one way
    except ValidationError as error:
        raise RecipeError(str(path), problems_of(error, Recipe)) from error
    known = plug_ins.named_by_user()
    for key, name in dotted_names(whole):
        if name not in known:
            raise RecipeError(
                str(path),
                [
                    f"{key}: {name!r} is code, which a run does not bring unasked; `allow_plugins`, or "
                    "EDGEMATE_ALLOW_PLUGINS=1, lets it be imported"
                ],
            )
