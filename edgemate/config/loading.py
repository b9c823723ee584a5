"""From a YAML file to a checked `Recipe`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgemate import plug_ins
from edgemate.config.fitting import fit_to_epochs
from edgemate.config.merging import merge, parse_overrides
from edgemate.config.parts import dotted_names, resolve_options
from edgemate.config.problems import problems_of
from edgemate.config.run_recipes import check_run_recipe, is_of_a_run
from edgemate.config.schema import Recipe
from edgemate.config.yaml_text import parse_yaml
from edgemate.errors import RecipeError
from edgemate.limits import EXTENDED, YAML_BYTES
from edgemate.named_files import open_named


def load_recipe(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    folders: Sequence[Path] = (),
    of_run: bool = False,
    notify: Callable[[str], None] | None = None,
) -> Recipe:
    """Read a recipe, what it extends, and the overrides; check all of it.

    The modules of dotted paths are searched on Python's path, in the folder of the recipe and in those of the files
    that it extends.

    Args:
        path: the YAML file.
        overrides: `section.key=value` strings, the value in YAML, merged over the file.
        folders: where modules of dotted paths are searched too.
        of_run: the recipe is that of a run, and must not name code unless that is allowed.
        notify: called with a sentence for each value that was changed to fit the epochs.

    Returns:
        The recipe with every default filled in, options of named parts included.

    Raises:
        RecipeError: the file cannot be read or is not valid YAML, or the recipe has problems, all in one message.
        UsageError: an override has another form.
    """
    over = parse_overrides(overrides)
    written = read_tree(Path(path), of_run=of_run)
    plug_ins.also_look_in(folders)
    tree, notes = fit_to_epochs(merge(written, over), written, over)
    recipe = _validated(tree, str(path), own=not of_run and not is_of_a_run(Path(path)))
    if notify is not None:
        for note in notes:
            notify(note)
    return recipe


def parse_recipe(tree: Mapping[str, Any], source: str) -> Recipe:
    """Validate a recipe of the user's own, given as a mapping; `source` names it in messages. Raises RecipeError."""
    return _validated(fit_to_epochs(tree)[0], source, own=True)


def _validated(tree: Mapping[str, Any], source: str, *, own: bool) -> Recipe:
    try:
        recipe = Recipe.model_validate(dict(tree))
    except ValidationError as error:
        # Also check the parts whose names are readable, so that one message has everything.
        raise RecipeError(source, problems_of(error, Recipe) + resolve_options(tree, import_paths=False)[1]) from error
    whole = recipe.model_dump()
    if own:
        plug_ins.add_named_by_user(name for _, name in dotted_names(whole))
    resolved, problems = resolve_options(whole)
    if problems:
        raise RecipeError(source, problems)
    return Recipe.model_validate(resolved)


def read_tree(path: Path, seen: tuple[Path, ...] = (), *, of_run: bool = False) -> dict[str, Any]:
    """A recipe's mapping, merged over the one it extends, not yet validated.

    Raises:
        RecipeError: it cannot be read; or it is that of a run, and names code.
    """
    tree = _read_yaml(path)
    if _is_guarded(path, of_run):
        check_run_recipe(tree, path)
        return tree
    plug_ins.look_beside(other.parent for other in (*seen, path))
    base = tree.pop("extends", None)
    if base is None:
        return tree
    if not isinstance(base, str):
        raise RecipeError(str(path), [f"extends: should be the path of one other file, not {base!r}"])
    base_path = path.parent / base
    if len(seen) + 1 >= EXTENDED.most:
        raise RecipeError(str(path), [f"extends: the chain {EXTENDED.exceeded()}"])
    try:
        resolved, found = base_path.resolve(), base_path.is_file()
        circular = any(resolved == other.resolve() for other in (*seen, path))
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, or links that lead to each other
        raise RecipeError(str(path), [f"extends: {base[:200]!r} cannot be a path: {_one_line(error)}"]) from error
    if circular:
        raise RecipeError(str(path), [f"extends: {base} leads back to this file"])
    if not found:
        raise RecipeError(str(path), [f"extends: no such file: {base_path}"])
    return merge(read_tree(base_path, (*seen, path)), tree)


def _is_guarded(path: Path, of_run: bool) -> bool:
    """Whether a recipe is that of a run whose plug-ins were not allowed."""
    return (of_run or is_of_a_run(path)) and not plug_ins.are_allowed_in_runs()


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        with open_named(path) as source:
            content = source.read(YAML_BYTES.most + 1)
        if len(content) > YAML_BYTES.most:
            raise ValueError(YAML_BYTES.exceeded())
        text = content.decode()
    except FileNotFoundError as error:
        raise RecipeError(str(path), ["no such file; `edgemate recipes list` lists the shipped recipes"]) from error
    except (OSError, ValueError) as error:  # of a path with a NUL too
        raise RecipeError(
            str(path), [f"cannot be read as text: {getattr(error, 'strerror', None) or _one_line(error)}"]
        ) from error
    try:
        tree = parse_yaml(text)
    except ValueError as error:
        raise RecipeError(str(path), [f"is not valid YAML: {_one_line(error)}"]) from error
    if not isinstance(tree, dict):
        raise RecipeError(str(path), [f"should be a mapping of sections, not {type(tree).__name__}"])
    return {str(key): value for key, value in tree.items()}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
