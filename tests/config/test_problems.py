"""What is wrong with a recipe is said with the path of a key that the recipe has or could have."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgemate.config.options import part_options
from edgemate.config.problems import problems_of
from edgemate.config.schema import Recipe
from edgemate.registry import AUGMENTATIONS, BACKBONES, CORRUPTIONS, DATASETS, HEADS, METHODS, OPTIMIZERS, SCHEDULES

PARTS = (AUGMENTATIONS, BACKBONES, CORRUPTIONS, DATASETS, HEADS, METHODS, OPTIMIZERS, SCHEDULES)
WRONG: tuple[Any, ...] = (5, -1, 2.5, "wrong", "", [], [1], ["a", 1], [[1]], {}, {"a": 1}, None, True, [{}], [-1.0])


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    width: int = 1


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    at: Annotated[list[str], Field(min_length=1)] | Literal["auto"] | None = None
    several: list[int] | list[Inner] | Literal["none"] = "none"
    pair: tuple[int, Inner] | None = None
    named: dict[Literal["a", "b"], int | Inner] = {}
    on: Literal["auto"] | bool = "auto"


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"at": 5}, ["at: should be a valid list or 'auto', not 5"]),
        ({"at": "autoo"}, ["at: should be a valid list or 'auto', not 'autoo'"]),
        ({"at": [1]}, ["at.0: should be a valid string, not 1"]),
        ({"at": []}, ["at: List should have at least 1 item after validation, not 0, not []"]),
        ({"on": "x"}, ["on: should be a valid boolean or 'auto', not 'x'"]),
        ({"several": 5}, ["several: should be a valid list or 'none', not 5"]),
        (
            {"several": [{"widht": 1}]},
            ["several.0: should be a valid integer", "several.0.widht: unknown key; did you mean"],
        ),
        ({"pair": [1, {"widht": 1}]}, ["pair.1.widht: unknown key; did you mean 'width'?"]),
        ({"named": {"c": 1}}, ["named.c: should be 'a' or 'b', not 'c'"]),
        (
            {"named": {"a": "x"}},
            ["named.a: should be a valid integer, unable to parse string as an integer or a valid"],
        ),
    ],
)
def test_of_a_union_one_sentence_says_what_would_work(tree: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(tree)
    problems = problems_of(caught.value, Outer)
    assert len(problems) == len(said)
    assert all(problem.startswith(text) for problem, text in zip(problems, said, strict=True)), problems


def models() -> Iterator[type[BaseModel]]:
    yield from (field.annotation for field in Recipe.model_fields.values() if isinstance(field.annotation, type))
    yield from (part_options(registry, name) for registry in PARTS for name in registry.names())


def has_union(annotation: Any) -> bool:
    several = [one for one in typing.get_args(annotation) if one is not type(None)]
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType) and len(several) > 1
    return union or any(has_union(one) for one in several)


def test_the_keys_of_all_sections_and_parts_are_named_as_they_are_written() -> None:
    checked = set()
    for model in models():
        for key, field in model.model_fields.items():
            if not has_union(field.annotation):
                continue
            for value in WRONG:
                try:
                    model.model_validate({key: value})
                except ValidationError as error:
                    paths = [problem.partition(": ")[0].split(".") for problem in problems_of(error, model)]
                    own = [path for path in paths if path[0] == key]
                    assert all(step.isdecimal() for path in own for step in path[1:]), (model, key, own)
                    assert len({tuple(path) for path in own}) == len(own), (model, key, own)
                    checked.add(key)
    assert {"at", "channels_last", "class_weights", "width"} <= checked
