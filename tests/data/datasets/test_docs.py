"""docs/datasets.md has every registered dataset, with the figures and folders that the code says."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

from edgemate.registry import DATASETS

DOCS = Path(__file__).parents[3] / "docs" / "datasets.md"


def rows() -> dict[str, str]:
    found = re.findall(r"^\| `(\w+)` \|.*$", DOCS.read_text("utf-8"), re.MULTILINE)
    lines = DOCS.read_text("utf-8").splitlines()
    return {name: next(line for line in lines if line.startswith(f"| `{name}` |")) for name in found}


def test_every_registered_dataset_has_a_row_and_no_other():
    assert sorted(rows()) == DATASETS.names()


@pytest.mark.parametrize("name", DATASETS.names())
def test_the_figures_are_those_of_the_factorys_docstring(name):
    summary = (inspect.getdoc(DATASETS.get(name)) or "").splitlines()[0]
    for figure in re.findall(r"\d+(?:,\d{3})+", summary):
        assert figure in rows()[name]


@pytest.mark.parametrize("name", DATASETS.names())
def test_the_folder_is_the_one_that_is_read(name):
    published = getattr(importlib.import_module(DATASETS.place(name)[0]), "_PUBLISHED", None)
    if published is not None:
        assert f"`{published.folder}/`" in rows()[name]
        assert re.search(r"https?://[^\s,)]+", published.origin).group().rstrip("/") in rows()[name]
