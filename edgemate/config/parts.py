"""The recipe's keys that name registered parts, and the validation of names and options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from edgemate.config.module_source import why_missing
from edgemate.config.options import part_options, statically_known
from edgemate.config.problems import problems_of
from edgemate.errors import UsageError
from edgemate.registry import (
    AUGMENTATIONS,
    BACKBONES,
    CORRUPTIONS,
    DATASETS,
    HEADS,
    METHODS,
    OPTIMIZERS,
    SCHEDULES,
    Registry,
)


@dataclass(frozen=True)
class PartSlot:
    """A section's key that holds a registered name, and the key that holds that part's options.

    A section within a section is written with a dot.
    """

    section: str
    key: str
    options_key: str
    registry: Registry


SLOTS = (
    PartSlot("data", "name", "options", DATASETS),
    PartSlot("data.unlabeled", "name", "options", DATASETS),
    PartSlot("model", "backbone", "options", BACKBONES),
    PartSlot("exits", "head", "options", HEADS),
    PartSlot("distillation", "method", "options", METHODS),
    PartSlot("optimization", "optimizer", "optimizer_options", OPTIMIZERS),
    PartSlot("optimization", "schedule", "schedule_options", SCHEDULES),
)


@dataclass(frozen=True)
class PartList:
    """A section's key that holds a list of registered names, each with its options."""

    section: str
    key: str
    registry: Registry


LISTS = (
    PartList("data", "augmentation", AUGMENTATIONS),
    PartList("data.unlabeled", "corruptions", CORRUPTIONS),
    PartList("distillation", "methods", METHODS),
)


def resolve_options(tree: Mapping[str, Any], *, import_paths: bool = True) -> tuple[dict[str, Any], list[str]]:
    """Validate the names and options of every part.

    A dotted path is imported, which may take seconds, only if there is no other problem.

    Args:
        tree: a recipe as nested mappings; keys that hold no name are skipped.
        import_paths: also validate the options of dotted paths; otherwise only whether these can be imported.

    Returns:
        The tree with every option's default filled in, and the problems found.
    """
    resolved, problems = deepcopy(dict(tree)), []
    dotted = []
    for place in _places(resolved):
        name, options = place.holder.get(place.key), place.holder.get(place.options_key) or {}
        if not isinstance(name, str) or not isinstance(options, dict):
            continue
        if ":" in name and name not in place.registry:
            dotted.append(place)
            missing = why_missing(*place.registry.place(name))
            if missing:
                problems.append(f"{place.path}.{place.key}: {place.registry.not_importable(name, missing)}")
            else:
                problems += _check_statically(place)
        else:
            problems += _fill_in(place)
    if import_paths and not problems:
        for place in dotted:
            problems += _fill_in(place)
    return resolved, problems


@dataclass(frozen=True)
class _Place:
    holder: dict[str, Any]
    path: str
    key: str
    options_key: str
    registry: Registry


def dotted_names(tree: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The dotted paths in a recipe, as nested mappings, in order: the key of each, and the path."""
    return [
        (f"{place.path}.{place.key}", name)
        for place in _places(dict(tree))
        if isinstance(name := place.holder.get(place.key), str) and ":" in name and name not in place.registry
    ]


def own_modules(tree: Mapping[str, Any]) -> list[str]:
    """The modules of the dotted paths in a recipe, as nested mappings, in order."""
    return list(dict.fromkeys(name.partition(":")[0] for _, name in dotted_names(tree)))


def _check_statically(place: _Place) -> list[str]:
    """The problems of a dotted path's options that its source shows, so that nothing slow is imported before."""
    model = statically_known(place.registry, place.holder[place.key], place.holder.get(place.options_key) or {})
    return [] if model is None else _options_of(place, model)[1]


def _fill_in(place: _Place) -> list[str]:
    """Fill in the defaults of a part's options. Returns the problems of its name and options."""
    given = place.holder.get(place.options_key) or {}
    try:
        model = part_options(place.registry, place.holder[place.key], given)
    except UsageError as error:
        return [f"{place.path}.{place.key}: {error}"]
    filled, problems = _options_of(place, model)
    if not problems:
        place.holder[place.options_key] = filled
    return problems


def _options_of(place: _Place, model: type[BaseModel]) -> tuple[dict[str, Any], list[str]]:
    """A part's options with every default, and their problems."""
    try:
        return model.model_validate(place.holder.get(place.options_key) or {}).model_dump(), []
    except ValidationError as error:
        return {}, problems_of(error, model, f"{place.path}.{place.options_key}")


def _places(tree: dict[str, Any]) -> Iterator[_Place]:
    for slot in SLOTS:
        section = _section(tree, slot.section)
        if section is not None:
            yield _Place(section, slot.section, slot.key, slot.options_key, slot.registry)
    for listed in LISTS:
        parts = (_section(tree, listed.section) or {}).get(listed.key)
        for i, part in enumerate(parts if isinstance(parts, list) else []):
            if isinstance(part, dict):
                yield _Place(part, f"{listed.section}.{listed.key}.{i}", "name", "options", listed.registry)


def _section(tree: dict[str, Any], path: str) -> dict[str, Any] | None:
    section: Any = tree
    for key in path.split("."):
        section = section.get(key) if isinstance(section, dict) else None
    return section if isinstance(section, dict) else None
