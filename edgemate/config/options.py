"""The options of a part, read from its factory: every keyword-only argument is an option.

The annotation and the default in the code are the schema, so nothing is written twice.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Collection
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, create_model

from edgemate.config.signatures import stand_in
from edgemate.config.switches import NoSwitches
from edgemate.registry import Registry

_EITHER = inspect.Parameter.POSITIONAL_OR_KEYWORD


class _Options(NoSwitches):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=False)


class _OpenOptions(NoSwitches):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False, arbitrary_types_allowed=False)


def part_options(registry: Registry, name: str, given: Collection[str] = ()) -> type[BaseModel]:
    """The options of a registered part or a dotted path; of a registered part without importing it, if possible.

    Args:
        registry: where the name is looked up.
        name: of the part.
        given: options that the recipe gives. A user's own factory may take them as arguments that are not keyword-only,
            and may have defaults that no recipe can hold, which are then left to it.

    Raises:
        UsageError: the name is unknown, or its module has to be imported and cannot be.
    """
    if name in registry:
        known = stand_in(*registry.place(name))
        return options_model(registry.get(name) if known is None else known)
    return _own_options(registry.get(name), given)


def required_options(registry: Registry, name: str) -> list[str]:
    """The options without which a part cannot be made; for a dotted path those that its source shows."""
    model = part_options(registry, name) if name in registry else statically_known(registry, name)
    return [] if model is None else [key for key, field in model.model_fields.items() if field.is_required()]


def statically_known(registry: Registry, name: str, given: Collection[str] = ()) -> type[BaseModel] | None:
    """The options of a dotted path as its source shows them, without importing it; None where that is not clear."""
    known = stand_in(*registry.place(name))
    model = None if known is None else options_model(known)
    # An option that is not in it may be an argument that is not keyword-only, which only the import shows.
    return model if model is not None and set(given) <= set(model.model_fields) else None


def options_model(factory: Callable[..., Any]) -> type[BaseModel]:
    """A pydantic model whose fields are the keyword-only arguments of `factory` (of `__init__` for a class).

    Of a factory that takes `**` more, which a library's does, any other option is left to the factory.
    """
    function = factory.__init__ if inspect.isclass(factory) else factory
    hints = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    parameters = inspect.signature(function).parameters.values()
    base = _OpenOptions if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters) else _Options
    for parameter in parameters:
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[parameter.name] = (hints.get(parameter.name, Any), default)
    return create_model(f"{factory.__name__} options", __base__=base, __doc__=inspect.getdoc(factory), **fields)


def _own_options(factory: Callable[..., Any], given: Collection[str]) -> type[BaseModel]:
    """The same of a user's own factory, whose annotations and defaults may be anything."""
    function = factory.__init__ if inspect.isclass(factory) else factory
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # of a builtin
        return create_model("options", __base__=_OpenOptions)
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception:  # an annotation names what is imported for type checkers only, for example
        hints = {}
    fields: dict[str, Any] = {}
    for parameter in parameters:
        required = parameter.default is inspect.Parameter.empty
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            wanted = required or _is_plain(parameter.default) or parameter.name in given
        else:  # what comes first is not the recipe's to give
            wanted = parameter.kind is _EITHER and not required and parameter.name in given
        if wanted:
            default = ... if required else parameter.default
            fields[parameter.name] = (_checkable(hints.get(parameter.name, Any)), default)
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    name = getattr(factory, "__name__", "own")
    return create_model(f"{name} options", __base__=_OpenOptions if takes_any else _Options, **fields)


def _checkable(annotation: Any) -> Any:
    """The annotation, if pydantic can check values by it, else `Any`."""
    try:
        TypeAdapter(annotation)
    except Exception:  # pydantic raises several kinds
        return Any
    return annotation


def _is_plain(value: Any) -> bool:
    """Whether YAML can hold it."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))
