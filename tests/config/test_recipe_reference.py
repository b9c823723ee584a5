"""docs/recipes.md describes every key and every registered part, as the code has them."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the parts of the training side are asked for their docstrings")

import recipe_reference
from recipe_reference import PAGE, PARTS, SECTIONS


def test_the_page_is_what_the_code_says() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert written == recipe_reference.page(), "run python tests/support/recipe_reference.py"


def test_every_key_is_described() -> None:
    silent = [
        f"{name}.{key}"
        for name, section in SECTIONS.items()
        for key, field in section.model_fields.items()
        if not field.description
    ]
    assert silent == []


def test_every_part_has_a_sentence() -> None:
    silent = [
        name
        for registry in PARTS.values()
        for name in registry.names()
        if not recipe_reference._sentence(registry.get(name))
    ]
    assert silent == []
