"""The recipes that are shipped with edgemate, by name, such as `digits/resnet8_mate`."""

from __future__ import annotations

import sys
from pathlib import Path

from edgemate.errors import UsageError
from edgemate.registry import closest


def shipped_recipes() -> dict[str, Path]:
    """Name → file, sorted by name, without files that are only extended (`_*.yaml`)."""
    root = recipes_root()
    found = sorted(root.rglob("*.yaml")) if root else []
    return {path.relative_to(root).with_suffix("").as_posix(): path for path in found if path.name[0] != "_" and root}


def find_recipe(given: str) -> Path:
    """The file of a recipe given by its path or by the name of a shipped recipe.

    Raises:
        UsageError: it is neither.
    """
    path = Path(given)
    try:
        if path.exists():
            return path
    except (OSError, ValueError):  # too long for a path, or with a NUL
        pass
    shipped = shipped_recipes()
    name = given.removeprefix("recipes/").removesuffix(".yaml")
    if name in shipped:
        return shipped[name]
    shown = given if len(given) <= 200 else f"{given[:200]}…"
    raise UsageError(f"{shown}: no such file or shipped recipe; {closest(name[:200], list(shipped))}")


def run_name(recipe: Path) -> str:
    """Default name of a run of this recipe: `digits-resnet8_mate` for `recipes/digits/resnet8_mate.yaml`."""
    parent = recipe.parent.name
    return recipe.stem if parent in ("", "..", "recipes") else f"{parent}-{recipe.stem}"


def recipes_root() -> Path | None:
    """The folder of shipped recipes: beside the package in a checkout, else in the installation's share/; or None."""
    for root in (Path(__file__).parents[2] / "recipes", Path(sys.prefix) / "share" / "edgemate" / "recipes"):
        if root.is_dir():
            return root
    return None
