"""Where a recipe names registered parts, and the check of their names and options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from edgemate.config.options import options_model
from edgemate.config.problems import problems_of
from edgemate.errors import UsageError
from edgemate.registry import (
    AUGMENTATIONS,
    BACKBONES,
    CORRUPTIONS,
    DATA_SETS,
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
    PartSlot("data", "name", "options", DATA_SETS),
    PartSlot("data.unlabelled", "name", "options", DATA_SETS),
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
    PartList("data.unlabelled", "corruptions", CORRUPTIONS),
    PartList("distillation", "methods", METHODS),
)


def resolve_options(tree: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Check the names and options of every part.

    Args:
        tree: a recipe as nested mappings; places that do not hold a name are passed over.

    Returns:
        The tree with every option's default filled in, and the problems found.
    """
    resolved, problems = deepcopy(dict(tree)), []
    for holder, path, key, options_key, registry in _places(resolved):
        name, options = holder.get(key), holder.get(options_key) or {}
        if not isinstance(name, str) or not isinstance(options, dict):
            continue
        prefix = f"{path}.{options_key}"
        try:
            model = options_model(registry.get(name))
        except UsageError as error:
            problems.append(f"{path}.{key}: {error}")
            continue
        try:
            holder[options_key] = model.model_validate(options).model_dump()
        except ValidationError as error:
            problems.extend(problems_of(error, model, prefix))
    return resolved, problems


def _places(tree: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, str, str, Registry]]:
    for slot in SLOTS:
        section = _section(tree, slot.section)
        if section is not None:
            yield section, slot.section, slot.key, slot.options_key, slot.registry
    for listed in LISTS:
        parts = (_section(tree, listed.section) or {}).get(listed.key)
        for i, part in enumerate(parts if isinstance(parts, list) else []):
            if isinstance(part, dict):
                yield part, f"{listed.section}.{listed.key}.{i}", "name", "options", listed.registry


def _section(tree: dict[str, Any], path: str) -> dict[str, Any] | None:
    section: Any = tree
    for key in path.split("."):
        section = section.get(key) if isinstance(section, dict) else None
    return section if isinstance(section, dict) else None
