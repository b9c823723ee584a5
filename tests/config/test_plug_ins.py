"""Parts that a recipe names by dotted path: imported last, and not at all where that cannot help."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgemate.config import parse_recipe
from edgemate.config.module_source import why_missing
from edgemate.errors import RecipeError

SMALLEST = {"data": {"name": "digits"}, "model": {"backbone": "resnet8"}, "optimization": {"epochs": 2}}
NAMES = ("mine", "mine.parts", "mine.deep", "mine.deep.parts", "loose", "loose.inner", "loose.inner.parts")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Package `mine` with module `parts`, and namespace package `loose`; importing either is noticed."""
    for package in ("mine", "mine/deep"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
    (tmp_path / "loose" / "inner").mkdir(parents=True)
    text = "import math as maths\ndef backbone(channels, *, width: int = 3): ...\nLIMIT = 3\n"
    for place in ("mine", "mine/deep", "loose/inner"):
        (tmp_path / place / "parts.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def imported() -> list[str]:
    return [name for name in NAMES if name in sys.modules]


@pytest.mark.parametrize(
    ("module", "attribute", "reason"),
    [
        ("no_such", "x", "No module named 'no_such'"),
        ("no_such.deep", "x", "No module named 'no_such'"),
        ("mine.part", "x", "No module named 'mine.part'"),
        ("mine.parts.deep", "x", "No module named 'mine.parts.deep'"),
        ("mine.parts", "backbon", "module 'mine.parts' has no attribute 'backbon'"),
        ("mine.deep.parts", "Backbone", "module 'mine.deep.parts' has no attribute 'Backbone'"),
        ("", "x", "No module named ''"),
        ("mine..parts", "x", "No module named 'mine..parts'"),
        ("mine.parts", "backbone", None),
        ("mine.parts", "maths", None),
        ("mine.parts", "LIMIT", None),
        ("loose.inner.parts", "backbone", None),
    ],
)
def test_missing_names_are_found_without_importing(module: str, attribute: str, reason: str | None) -> None:
    assert why_missing(module, attribute) == reason
    assert imported() == []


@pytest.mark.parametrize(
    "text", ["def __getattr__(name): ...", "from math import *", "globals()['x'] = 1", "if True:\n    x = 1"]
)
def test_names_that_a_module_may_bind_on_import_are_not_missing(folder: Path, text: str) -> None:
    (folder / "mine" / "parts.py").write_text(text)
    assert why_missing("mine.parts", "x") is None


def test_a_package_may_create_modules(folder: Path) -> None:
    (folder / "mine" / "__init__.py").write_text("__path__.append('elsewhere')")
    assert why_missing("mine.other", "x") is None


@pytest.mark.parametrize("module", ["mine.parts", "mine.deep.parts", "loose.inner.parts"])
def test_a_part_is_imported_if_all_else_is_valid_and_its_options_checked(module: str) -> None:
    named = SMALLEST | {"model": {"backbone": f"{module}:backbone"}}
    assert parse_recipe(named, "r.yaml").model.options == {"width": 3}
    with pytest.raises(RecipeError, match=r"model\.options\.widht: unknown key; did you mean 'width'"):
        parse_recipe(SMALLEST | {"model": {"backbone": f"{module}:backbone", "options": {"widht": 3}}}, "r.yaml")


@pytest.mark.parametrize(
    "wrong", [{"optimization": {"epochs": 0}}, {"exits": {"head": "linaer"}}, {"exits": {"options": {"dropuot": 1}}}]
)
def test_a_part_is_not_imported_if_something_else_is_wrong(wrong: dict[str, object]) -> None:
    with pytest.raises(RecipeError):
        parse_recipe(SMALLEST | {"model": {"backbone": "mine.parts:backbone"}} | wrong, "r.yaml")
    assert imported() == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [("def backbone(:", "syntax"), ("import no_such_either\nbackbone = 1", "No module named 'no_such_either'")],
)
def test_a_part_that_cannot_be_imported_is_one_line(folder: Path, text: str, reason: str) -> None:
    (folder / "mine" / "parts.py").write_text(text)
    with pytest.raises(RecipeError) as caught:
        parse_recipe(SMALLEST | {"model": {"backbone": "mine.parts:backbone"}}, "r.yaml")
    assert "model.backbone: backbone 'mine.parts:backbone' cannot be imported: " in str(caught.value)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
