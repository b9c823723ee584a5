"""Which ranges a part declares (`Tune`), read from its source where possible."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterable
from typing import Any

from edgemate.config.options import part_options
from edgemate.config.ranges import Rate, Tune
from edgemate.config.signatures import argument_annotation
from edgemate.registry import OPTIMIZERS, Registry


def option_ranges(registry: Registry, name: str) -> dict[str, Tune]:
    """Option → its range, for the options of a part that have one.

    Raises:
        UsageError: the name is unknown, or its module has to be imported and cannot be.
    """
    fields = part_options(registry, name).model_fields
    found = {option: _range_in(field.metadata) for option, field in fields.items()}
    return {option: declared for option, declared in found.items() if declared is not None}


def rate_range(optimizer: str) -> Tune:
    """The range of the learning rate: that of the optimizer's argument `lr`, or the usual one where it has none.

    Raises:
        UsageError: the name is unknown, or its module has to be imported and cannot be.
    """
    try:
        annotation = argument_annotation(*OPTIMIZERS.place(optimizer), "lr")
    except LookupError:
        annotation = _imported_annotation(OPTIMIZERS, optimizer, "lr")
    declared = _range_in(typing.get_args(annotation))
    usual = _range_in(typing.get_args(Rate))
    assert usual is not None
    return declared or usual


def _imported_annotation(registry: Registry, name: str, argument: str) -> Any:
    factory = registry.get(name)
    function = factory.__init__ if inspect.isclass(factory) else factory
    try:
        return typing.get_type_hints(function, include_extras=True).get(argument)
    except Exception:  # a user's annotation may name what is imported for type checkers only
        return None


def _range_in(metadata: Iterable[Any]) -> Tune | None:
    return next((entry for entry in metadata if isinstance(entry, Tune)), None)
