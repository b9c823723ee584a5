"""A number that sizes layers has a largest value: torch would ask the system for more memory than any machine has."""

from __future__ import annotations

import re

import pytest

from edgemate.errors import RecipeError
from recipes import small_recipe

SIZES = [
    ("separable", "exits.options.width"),
    ("continuation", "exits.options.blocks"),
    ("msdnet", "exits.options.width"),
    ("bottleneck", "exits.options.squeeze"),
    ("inverted_residual", "exits.options.expansion"),
    ("inverted_residual", "exits.options.growth"),
    ("inverted_residual", "exits.options.depth"),
    ("inverted_residual", "exits.options.features"),
]


@pytest.mark.parametrize(("head", "option"), SIZES)
def test_a_head_of_any_size_is_refused(head: str, option: str) -> None:
    with pytest.raises(RecipeError, match=rf"{re.escape(option)}: should be less than or equal to \d+"):
        small_recipe(f"exits.head={head}", f"{option}=99999999999")


@pytest.mark.parametrize(("method", "option"), [("okddip", "width"), ("uda_kd", "hidden"), ("mate", "teachers")])
def test_a_method_of_any_size_is_refused(method: str, option: str) -> None:
    key = f"distillation.options.{option}"
    with pytest.raises(RecipeError, match=rf"distillation\.options\.{option}: should be less than or equal to \d+"):
        small_recipe(f"distillation.method={method}", f"{key}=99999999999")
