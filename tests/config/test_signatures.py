from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgemate.config.options import options_model
from edgemate.config.parts import LISTS, SLOTS
from edgemate.config.shipped import shipped_recipes
from edgemate.config.signatures import class_constant, stand_in
from edgemate.registry import METHODS, Registry

REGISTRIES = {place.registry.kind: place.registry for place in (*SLOTS, *LISTS)}
PARTS = [(registry, name) for registry in REGISTRIES.values() for name in registry.names()]


@pytest.mark.parametrize(("registry", "name"), PARTS, ids=lambda value: value if isinstance(value, str) else value.kind)
def test_the_options_read_from_the_source_are_those_of_the_factory(registry: Registry, name: str) -> None:
    read = stand_in(*registry.place(name))
    assert read is not None, "its module would have to be imported to check a recipe"
    ours, real = options_model(read), options_model(registry.get(name))
    assert list(ours.model_fields) == list(real.model_fields)
    for field, known in real.model_fields.items():
        assert repr(ours.model_fields[field]) == repr(known)
        assert repr(ours.model_fields[field].annotation) == repr(known.annotation)
    assert ours.model_json_schema() == real.model_json_schema()


@pytest.mark.parametrize("name", METHODS.names())
def test_a_methods_need_of_a_teacher_is_read_from_its_source(name: str) -> None:
    assert class_constant(*METHODS.place(name), "needs_teacher") == METHODS.get(name).needs_teacher  # type: ignore[attr-defined]


def test_no_shipped_recipe_needs_more_than_its_text_to_be_loaded() -> None:
    program = (
        "import sys\n"
        "from edgemate.config import load_recipe\n"
        "for path in sys.argv[1:]: load_recipe(path)\n"
        "print([name for name in ('torch', 'torchvision', 'lightning', 'numpy', 'sklearn') if name in sys.modules])"
    )
    paths = list(map(str, shipped_recipes().values()))
    found = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that is found under the name `written`, and must not be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "written.py"


@pytest.mark.parametrize(
    "text",
    [
        "@cached\ndef part(*, size: int = 1): ...",
        "def part(*, size: int = 1): ...\ndef part(*, size: float = 1): ...",
        "if FAST:\n    def part(*, size: int = 1): ...",
        "def part(*, size: int = SIZE): ...",
        "import torch\ndef part(*, size: torch.dtype = torch.int8): ...",
        "from torch import Tensor\ndef part(*, size: Tensor): ...",
        "def part(*, size='a'): ...",
        "def part(*, size: 'int' = 1): ...",
        "def part(*, size: int = (lambda: 1)()): ...",
        "class part(Base):\n    def __init__(self, *, size: int = 1): ...\nclass part: ...",
        "class part(metaclass=Meta):\n    def __init__(self, *, size: int = 1): ...",
        "class part(A, B): ...",
        "from written_too import part",
        "part = make()",
        "def part(:",
    ],
)
def test_a_source_that_is_not_simple_is_left_to_the_import(module: Path, text: str) -> None:
    module.write_text(text)
    assert stand_in("written", "part") is None


def test_a_class_without_a_constructor_has_the_options_of_the_class_above(module: Path) -> None:
    module.write_text(
        "from typing import Literal\nSize = Literal[1, 2]\n"
        "class Above:\n    def __init__(self, x, *, size: Size = 1): ...\n"
        "class part(Above):\n    'A part.'"
    )
    read = stand_in("written", "part")
    assert read is not None
    assert options_model(read).model_json_schema()["properties"]["size"]["enum"] == [1, 2]
    assert read.__doc__ == "A part."
