"""A base of pydantic models that takes no true or false for a number, as pydantic does: `patience: true` is no 1."""

from __future__ import annotations

import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationInfo, field_validator


class NoSwitches(BaseModel):
    """A model whose fields of numbers refuse true and false."""

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_switch(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and info.field_name is not None:
            kinds = _alternatives(cls.model_fields[info.field_name].annotation)
            if (int in kinds or float in kinds) and bool not in kinds:
                raise ValueError(f"should be a number, not {str(value).lower()}")
        return value


def _alternatives(annotation: Any) -> set[Any]:
    """The types that a value may have directly, not within a list."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _alternatives(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return {kind for one in typing.get_args(annotation) for kind in _alternatives(one)}
    return {annotation}
