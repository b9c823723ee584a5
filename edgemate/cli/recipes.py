"""`edgemate recipes`: the shipped recipes, and checks of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgemate.cli.screen import say
from edgemate.cli.trust import AllowPlugins
from edgemate.plug_ins import allowed_in_runs

recipes = typer.Typer(help="List, show, copy and check recipes.", no_args_is_help=True)

Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a value of the recipe; repeatable.")
]


@recipes.command("list")
def list_recipes() -> None:
    """List the shipped recipes."""
    from edgemate.config.loading import read_tree
    from edgemate.config.shipped import shipped_recipes

    rows = [("recipe", "backbone", "epochs", "method")]
    for name, path in shipped_recipes().items():
        tree = read_tree(path)
        rows.append((name, _at(tree, "model", "backbone"), _at(tree, "optimization", "epochs"), _methods(tree)))
    # Never cut, however narrow the terminal: names are there to be copied, and lines to be searched.
    recipe, backbone, epochs, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
    for row in rows:
        say(f"{row[0]:<{recipe}}  {row[1]:<{backbone}}  {row[2]:>{epochs}}  {row[3]}")


@recipes.command()
def show(
    recipe: Annotated[str, typer.Argument(help="A file, or a name from the list.")],
    resolved: Annotated[bool, typer.Option("--resolved", help="Include what it extends and every default.")] = False,
    overrides: Overrides = None,
    allow_plugins: AllowPlugins = False,
) -> None:
    """Print a recipe."""
    import yaml

    from edgemate.config import load_recipe
    from edgemate.config.loading import read_tree
    from edgemate.config.shipped import find_recipe

    path = find_recipe(recipe)
    if resolved or overrides:
        with allowed_in_runs(allow_plugins):
            loaded = load_recipe(path, overrides or [])
        text = yaml.safe_dump(loaded.model_dump(mode="json"), sort_keys=False)
    else:
        read_tree(path)  # which says what is wrong with it
        text = path.read_text(encoding="utf-8")
    say(*text.removesuffix("\n").split("\n"))


@recipes.command()
def copy(
    recipe: Annotated[str, typer.Argument(help="A file, or a name from the list.")],
    target: Annotated[Path, typer.Argument(help="Where the copy goes.")],
) -> None:
    """Copy a recipe, with what it extends filled in, as a start for your own."""
    import yaml

    from edgemate import files
    from edgemate.config.loading import read_tree
    from edgemate.config.shipped import find_recipe
    from edgemate.config.yaml_text import parse_yaml
    from edgemate.errors import UsageError

    path = find_recipe(recipe)
    if target.is_dir():
        target = target / path.name
    if target.exists():
        raise UsageError(f"{target}: exists; choose another name")
    tree = read_tree(path)
    text = path.read_text(encoding="utf-8")
    if "extends" in parse_yaml(text):
        text = yaml.safe_dump(tree, sort_keys=False)
    files.write_text(target, text)
    say(str(target))


@recipes.command()
def validate(
    recipe: Annotated[list[str], typer.Argument(help="Files, or names from the list.")],
    overrides: Overrides = None,
    allow_plugins: AllowPlugins = False,
) -> None:
    """Check recipes whole, without reading any data; every problem of a recipe is named at once."""
    from edgemate.config import load_recipe
    from edgemate.config.shipped import find_recipe
    from edgemate.training import check_early

    for given in recipe:
        path = find_recipe(given)
        with allowed_in_runs(allow_plugins):
            loaded = load_recipe(path, overrides or [], notify=say)
        check_early(loaded, str(path))

        from edgemate.training import check_recipe  # only now, since it imports torch

        check_recipe(loaded, str(path))
        say(f"{path}: good")


@recipes.command()
def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    from edgemate.cli.screen import print_json
    from edgemate.config.json_schema import recipe_schema

    print_json(recipe_schema())


def _methods(tree: dict[str, object]) -> str:
    """The method, or the methods, whichever way they are written."""
    from edgemate.config import Distillation

    section = tree.get("distillation")
    named = {key: section[key] for key in ("method", "methods") if key in section} if isinstance(section, dict) else {}
    return " + ".join(Distillation.model_validate(named).names)


def _at(tree: dict[str, object], section: str, key: str) -> str:
    part = tree.get(section)
    return str(part.get(key, "")) if isinstance(part, dict) else ""
