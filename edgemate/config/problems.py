"""Pydantic's errors as sentences about the recipe: the key's path, what was given, what would work."""

from __future__ import annotations

import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from edgemate.registry import closest
from edgemate.wording import LONGEST, shortened

_MOST = 20
"""Problems that are described; a search for similar names takes time."""


def problems_of(error: ValidationError, model: type[BaseModel], prefix: str = "") -> list[str]:
    """One sentence per problem, each starting with the path of the key; of many, the first, and how many follow."""
    found = error.errors(include_url=False)
    sentences = [_sentence(dict(item), model, prefix) for item in found[:_MOST]]
    return [*sentences, f"and {len(found) - _MOST} more"] if len(found) > _MOST else sentences


def _sentence(item: dict[str, Any], model: type[BaseModel], prefix: str) -> str:
    location = tuple(item["loc"])
    path = shortened(".".join(part for part in [prefix, *map(str, location)] if part))
    if item["type"] == "extra_forbidden":
        known = sorted(_fields_at(model, location[:-1]))
        if not known:
            return f"{path}: unknown key; no options are known here"
        return f"{path}: unknown key; {closest(str(location[-1])[:LONGEST], known)}"
    if item["type"] == "missing":
        return f"{path}: missing, and it is required"
    text = shortened(item["msg"].removeprefix("Value error, "))
    text = text.replace("Input should be", "should be")
    if item["type"] == "value_error" or isinstance(item.get("input"), dict):
        return f"{path}: {text}" if path else text
    return f"{path}: {text}, not {shortened(repr(item.get('input')))}"


def _fields_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Names of the known fields at a location in the tree."""
    here: type[BaseModel] | None = model
    for step in location:
        if isinstance(step, int):
            continue
        if here is None or step not in here.model_fields:
            return []
        here = _model_in(here.model_fields[step].annotation)
    return list(here.model_fields) if here is not None else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, list, typing.Annotated):
        for argument in typing.get_args(annotation):
            found = _model_in(argument)
            if found is not None:
                return found
    return None
