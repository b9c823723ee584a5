"""Pydantic's errors as sentences about the recipe: the key's path, what was given, what would work."""

from __future__ import annotations

import collections.abc
import types
import typing
from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from edgemate.registry import closest
from edgemate.wording import LONGEST, shortened

Location = tuple[Any, ...]
_MOST = 20
"""Problems that are described; a search for similar names takes time."""


class _Found(NamedTuple):
    """One of pydantic's errors.

    Attributes:
        item: as pydantic describes it.
        path: the keys and indices in the YAML. Pydantic's own location also has a name for each member of a union.
        unions: of these, the paths at which a union is.
        holder: what can have the last key.
    """

    item: dict[str, Any]
    path: Location
    unions: tuple[Location, ...]
    holder: tuple[Any, ...]


def problems_of(error: ValidationError, model: type[BaseModel], prefix: str = "") -> list[str]:
    """One sentence per problem, each starting with the path of the key; of many, the first, and how many follow."""
    found = [_located(dict(item), model) for item in error.errors(include_url=False)]
    further = {union for one in found for union in one.unions if len(one.path) > len(union)}
    problems: dict[Location, list[_Found]] = {}
    for one in found:
        # Of a union, the member that a value came further into is the one that was meant.
        if not (one.path in one.unions and one.path in further):
            problems.setdefault(one.path, []).append(one)
    sentences = [_sentence(alternatives, prefix) for alternatives in list(problems.values())[:_MOST]]
    return [*sentences, f"and {len(problems) - _MOST} more"] if len(problems) > _MOST else sentences


def _sentence(alternatives: Sequence[_Found], prefix: str) -> str:
    item, location, _, holder = alternatives[0]
    path = shortened(".".join(part for part in [prefix, *map(str, location)] if part))
    if item["type"] == "extra_forbidden":
        known = sorted(name for one in holder if _is_model(one) for name in one.model_fields)
        if not known:
            return f"{path}: unknown key; no options are known here"
        return f"{path}: unknown key; {closest(str(location[-1])[:LONGEST], known)}"
    if item["type"] == "missing":
        return f"{path}: missing, and it is required"
    text = _joined([one.item for one in alternatives])
    if item["type"] == "value_error" or isinstance(item.get("input"), dict):
        return f"{path}: {text}" if path else text
    return f"{path}: {text}, not {shortened(repr(item.get('input')))}"


def _joined(items: Sequence[dict[str, Any]]) -> str:
    """What would work; of a union, what each of its members wants."""
    texts = []
    for item in sorted(items, key=lambda item: item["type"] == "literal_error"):
        text = item["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
        texts.append(shortened(text.removesuffix(", unable to interpret input")))
    # A list that is too short is a list: what the other members want does not matter.
    closer = [text for text in texts if not text.startswith("should be ")]
    if closer:
        return closer[0]
    return "should be " + " or ".join(dict.fromkeys(text.removeprefix("should be ") for text in texts))


def _located(item: dict[str, Any], model: type[BaseModel]) -> _Found:
    path: list[Any] = []
    unions: list[Location] = []
    holder: tuple[Any, ...] = ()
    here: tuple[Any, ...] = (model,)
    names_a_member = False
    for step in item["loc"]:
        if names_a_member:
            names_a_member = False
            unions.append(tuple(path))
        elif step != "[key]":  # pydantic's word for the key itself
            path.append(step)
            holder = here
            inside = [found for one in here for found in _inside(one, step)]
            members = [_members(one) for one in inside]
            names_a_member = any(len(several) > 1 for several in members)
            here = tuple(member for several in members for member in several)
    return _Found(item, tuple(path), tuple(unions), holder)


def _inside(annotation: Any, step: Any) -> list[Any]:
    """The annotation of what a key or an index of a value has; none where it is not known."""
    if _is_model(annotation):
        field = annotation.model_fields.get(step) if isinstance(step, str) else None
        return [] if field is None else [field.annotation]
    origin = typing.get_origin(annotation)
    arguments = [one for one in typing.get_args(annotation) if one is not Ellipsis]
    if not isinstance(origin, type) or not issubclass(origin, collections.abc.Collection):
        return []
    if issubclass(origin, tuple) and isinstance(step, int) and len(arguments) > 1:
        return arguments[step : step + 1]
    return arguments[-1:]


def _members(annotation: Any) -> list[Any]:
    """The annotations of a union but None, which pydantic gives no name; of another annotation, itself."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _members(typing.get_args(annotation)[0])
    if origin not in (typing.Union, types.UnionType):
        return [annotation]
    wanted = [one for one in typing.get_args(annotation) if one is not type(None)]
    return [member for one in wanted for member in _members(one)]


def _is_model(annotation: Any) -> bool:
    # Python 3.10 takes list[str] for a type.
    return typing.get_origin(annotation) is None and isinstance(annotation, type) and issubclass(annotation, BaseModel)
