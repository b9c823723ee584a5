"""`plan`: what exits would cost at every cut point of a network, before any training."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from edgemate.progress import SILENT, Progress

if TYPE_CHECKING:
    from edgemate.api.opening import RecipeLike
    from edgemate.config import Recipe
    from edgemate.models.plan_result import Plan

Found = TypeVar("Found")

_REPLACED = {
    "image_size": ("data", ("image_size", "resize_to")),
    "exits": ("exits", ("at", "count")),
    "head": ("exits", ("head", "options")),
}
"""Argument → the section, and the keys in it, that it stands in the place of."""

_SMALLEST_SIDE, _LARGEST_SIDE = 4, 4096


def plan(
    network: RecipeLike,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    classes: int | None = None,
    exits: int | None = None,
    head: str | None = None,
    overrides: Sequence[str] = (),
    progress: Progress = SILENT,
) -> Plan:
    """List every cut point of a network with its cost, and the exits that would be placed. Weights are not fetched.

    Args:
        network: `timm/NAME`, `torchvision/NAME`, a registered backbone, the dotted path of your own, a recipe's file,
            the name of a shipped recipe, or a Recipe.
        image_size: height and width in pixels; the recipe's, or the network's own if None.
        channels: of the image; those of the recipe's dataset, or 3 if None.
        classes: those of the recipe's dataset, or the network's own if None (1,000 where it has none). A recipe's
            dataset is read only where one of these three is missing.
        exits: how many to place at near-equal steps of MACs; the recipe's exits, or 4 if None.
        head: registered head, with its default options; the recipe's, or `separable` if None.
        overrides: `section.key=value` strings that override values of the recipe.
        progress: receives the steps.

    Returns:
        The cut points in order, those that get an exit marked, and warnings.

    Raises:
        UsageError: the network is unknown, cannot be traced or cannot take such images; a cut point is unknown; or an
            override sets what an argument is given for.
        RecipeError: the recipe is not valid.
        DataError: the recipe's dataset is missing.

    Example:
        >>> plan = edgemate.plan("resnet20", classes=10)
        >>> [cut.name for cut in plan.exits]
        ['stage1.1', 'stage2.0', 'stage3.0', 'stage3.2']
    """
    from edgemate.config import Exits, Model, Recipe
    from edgemate.data import check_data
    from edgemate.errors import RecipeError, UsageError
    from edgemate.registry import HEADS

    _check_numbers(image_size, channels, classes, exits)
    if head is not None:
        HEADS.place(head)
    recipe = _recipe(network, overrides)
    _check_given_once(overrides, image_size=image_size, exits=exits, head=head)
    if recipe is None:
        name = str(network)
        _check_backbone(name)
        progress.step("loading PyTorch")
        from edgemate.models.planning import plan_network

        try:
            with progress.unattended():
                return plan_network(
                    Model(backbone=name),
                    Exits(at="auto", count=exits, head=head or "separable"),
                    channels=channels or 3,
                    classes=classes,
                    size=None if image_size is None else (image_size, image_size),
                    progress=progress,
                )
        except UsageError as error:  # there is no recipe to set these keys in
            said = str(error).replace("set data.image_size to", "set `image_size` to")
            raise UsageError(said.replace("exits.count is", "`exits` is")) from error

    if exits is not None:
        recipe = recipe.model_copy(update={"exits": recipe.exits.model_copy(update={"at": "auto", "count": exits})})
    if head is not None:
        recipe = recipe.model_copy(update={"exits": recipe.exits.model_copy(update={"head": head, "options": {}})})
    source = "recipe" if isinstance(network, Recipe) else str(network)
    if not _is_given(recipe, image_size, channels, classes):
        _with_advice(lambda: check_data(recipe.data))
    progress.step("loading PyTorch")
    from edgemate.models.planning import plan_network

    with progress.unattended():
        try:
            shape, classes = _input(recipe, image_size, channels, classes, progress)
            return plan_network(
                recipe.model,
                recipe.exits,
                channels=shape[0],
                classes=classes,
                size=shape[1:],
                recipe=source,
                progress=progress,
            )
        except UsageError as error:
            raise RecipeError(source, [str(error)]) from error


def _check_numbers(image_size: int | None, channels: int | None, classes: int | None, exits: int | None) -> None:
    from edgemate.errors import UsageError

    for name, number, least in (
        ("image_size", image_size, _SMALLEST_SIDE),
        ("channels", channels, 1),
        ("classes", classes, 2),
        ("exits", exits, 1),
    ):
        if number is not None and number < least:
            raise UsageError(f"{name} must be at least {least}, not {number}")
    if image_size is not None and image_size > _LARGEST_SIDE:
        raise UsageError(f"image_size must be at most {_LARGEST_SIDE}, not {image_size}")


def _check_given_once(overrides: Sequence[str], **given: int | str | None) -> None:
    """UsageError where an override sets what an argument is given for, which would then be ignored."""
    from edgemate.config.merging import parse_overrides
    from edgemate.errors import UsageError

    over = parse_overrides(overrides)
    for name, (section, keys) in _REPLACED.items():
        found = over.get(section)
        if given[name] is None or not isinstance(found, dict):
            continue
        for key in keys:
            if key in found:
                raise UsageError(f"`{name}` and the override {section}.{key} exclude each other; give one")


def _recipe(network: RecipeLike, overrides: Sequence[str]) -> Recipe | None:
    """The recipe that is meant; None for the name of a network. Raises UsageError for a name of neither."""
    from edgemate.config import Recipe, load_recipe
    from edgemate.config.shipped import find_recipe, shipped_recipes
    from edgemate.errors import UsageError
    from edgemate.registry import BACKBONES, closest

    if isinstance(network, Recipe):
        if overrides:
            raise UsageError("`overrides` are for a recipe's file or name, not for a Recipe object")
        return network
    name = os.fspath(network)
    if name not in BACKBONES:
        shipped = shipped_recipes()
        if Path(name).is_file() or name.endswith((".yaml", ".yml")) or name in shipped:
            return load_recipe(find_recipe(name), overrides)
        if ":" not in name:
            hint = closest(name, [*BACKBONES.names(), *shipped]) if name else "name one"
            hint = hint if hint.startswith("did you mean") else "`edgemate models` lists networks"
            prefixes = " or ".join(BACKBONES.libraries())
            raise UsageError(
                f"{name}: no such backbone, recipe or file; {hint} (other libraries' networks begin with {prefixes})"
            )
    if overrides:
        raise UsageError(f"`overrides` are for recipes, and {name} is a network")
    return None


def _check_backbone(name: str) -> None:
    """UsageError for a dotted path that cannot be imported, or a network that needs options, before PyTorch is."""
    from edgemate.config.module_source import why_missing
    from edgemate.config.options import required_options
    from edgemate.errors import UsageError
    from edgemate.registry import BACKBONES

    if name not in BACKBONES and (missing := why_missing(*BACKBONES.place(name))):
        raise UsageError(BACKBONES.not_importable(name, missing))
    if BACKBONES.library(name) is None and (needed := required_options(BACKBONES, name)):
        raise UsageError(f"{name} needs the options {', '.join(needed)}; name a recipe that sets them in model.options")


def _is_given(recipe: Recipe, image_size: int | None, channels: int | None, classes: int | None) -> bool:
    """Whether the dataset need not be read."""
    return None not in (image_size or recipe.data.image_size, channels, classes)


def _input(
    recipe: Recipe, image_size: int | None, channels: int | None, classes: int | None, progress: Progress
) -> tuple[tuple[int, int, int], int]:
    """(C, H, W) and the number of classes: what was given, and the rest as the recipe's dataset has it."""
    from edgemate.training.input_defaults import with_input_defaults

    if image_size is not None:
        data = recipe.data.model_copy(update={"image_size": image_size, "resize_to": None})
        recipe = recipe.model_copy(update={"data": data})
    section = with_input_defaults(
        recipe.data, recipe.model.backbone, recipe.model.weights, recipe.model.options, normalization=False
    )
    recipe = recipe.model_copy(update={"data": section})
    side = recipe.data.image_size
    if side is not None and channels is not None and classes is not None:
        return (channels, side, side), classes
    from edgemate.data.input_plan import plan_input
    from edgemate.data.loading import load_source

    progress.step("reading the dataset")
    source = _with_advice(lambda: load_source(recipe.data.name, recipe.data.options))
    spec = plan_input(source, recipe.data)
    return (channels or spec.channels, spec.height, spec.width), classes or len(source.classes)


def _with_advice(read: Callable[[], Found]) -> Found:
    """What is read from a dataset; where it is missing, the message says how to do without it."""
    from edgemate.errors import DataError

    try:
        return read()
    except DataError as error:
        raise DataError(f"{error}; or give `image_size`, `channels` and `classes`") from error
