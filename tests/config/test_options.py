from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from edgemate.config.options import options_model


def factory(first: int, *, size: Annotated[int, Field(gt=0)], name: str = "a") -> None:
    """A part."""


def test_keyword_only_arguments_are_the_options() -> None:
    model = options_model(factory)
    assert list(model.model_fields) == ["size", "name"]
    assert model.model_validate({"size": 3}).model_dump() == {"size": 3, "name": "a"}


@pytest.mark.parametrize("options", [{}, {"size": 0}, {"size": True}, {"size": 1, "first": 2}])
def test_options_that_the_signature_does_not_allow_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        options_model(factory).model_validate(options)


def test_a_class_has_the_options_of_its_constructor() -> None:
    class Part:
        def __init__(self, setting: int, *, depth: int = 2) -> None: ...

    assert list(options_model(Part).model_fields) == ["depth"]
