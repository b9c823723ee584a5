"""The options of a part, read from its factory: every keyword-only argument is an option.

The annotation and the default in the code are the schema, so nothing is written twice.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model

from edgemate.config.signatures import stand_in
from edgemate.registry import Registry

_CONFIG = ConfigDict(extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=False)
_OPEN = ConfigDict(extra="allow", allow_inf_nan=False, arbitrary_types_allowed=False)


def part_options(registry: Registry, name: str) -> type[BaseModel]:
    """The options of a registered part or a dotted path; of a registered part without importing it, if possible.

    Raises:
        UsageError: the name is unknown, or its module has to be imported and cannot be.
    """
    known = stand_in(*registry.place(name)) if name in registry else None
    return options_model(registry.get(name) if known is None else known)


def options_model(factory: Callable[..., Any]) -> type[BaseModel]:
    """A pydantic model whose fields are the keyword-only arguments of `factory` (of `__init__` for a class).

    Of a factory that takes `**` more, which a library's does, any other option is left to the factory.
    """
    function = factory.__init__ if inspect.isclass(factory) else factory
    hints = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    parameters = inspect.signature(function).parameters.values()
    config = _OPEN if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters) else _CONFIG
    for parameter in parameters:
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[parameter.name] = (hints.get(parameter.name, Any), default)
    return create_model(f"{factory.__name__} options", __config__=config, __doc__=inspect.getdoc(factory), **fields)
