"""A user's own part that is wrong is one line, before anything is written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgemate.config import load_recipe
from edgemate.config.merging import merge, parse_overrides
from edgemate.errors import EdgemateError
from edgemate.training import check_early, train
from recipes import SMALL

HEADER = """
from torch import nn
import torch
from edgemate.distillation import Loss, Method
from edgemate.models import Head, Tap
"""
KINDS = {
    "backbone": "model={backbone: NAME}",
    "head": "exits={head: NAME}",
    "distillation method": "distillation.method=NAME",
    "dataset": "data={name: NAME}",
    "augmentation": "data.augmentation=[NAME]",
    "optimizer": "optimization.optimizer=NAME",
    "schedule": "optimization.schedule=NAME",
}
RETURNS = {
    "backbone": "should return a torch.nn.Module",
    "head": "must return edgemate.models.heads.head.Head",
    "distillation method": "must return edgemate.distillation.method.Method",
    "dataset": "must return an edgemate.data.DataSource",
    "augmentation": "must return a function",
    "optimizer": "must return torch.optim.optimizer.Optimizer",
    "schedule": "must return a function",
}
WRONG = {
    "nothing": ("def part(*given, **more): ...", None),
    "another type": ("def part(*given, **more):\n    return 3", None),
    "raises": ("class part:\n    def __init__(self, *given):\n        raise KeyError('weights\\nfile')", "'weights"),
    "wrong arguments": ("def part(one, two, three, four, five):\n    return 3", "missing"),
    "option without a value": ("def part(*given, size: int):\n    return 3", "size: missing, and it is required"),
    "missing": ("def another(): ...", "has no attribute 'part'"),
    "no function": ("part = 3", "must be a class or a function"),
    "fails to import": ("raise RuntimeError('no\\nnetwork')\ndef part(): ...", "RuntimeError: no network"),
}
CASES = [(kind, *wrong) for kind in KINDS for wrong in WRONG.items()]


def load_and_train(folder: Path) -> None:
    recipe = load_recipe(folder / "own.yaml")
    check_early(recipe, "own.yaml")
    train(recipe, folder / "run")


def problem_of(folder: Path, kind: str, text: str) -> str:
    """What training a recipe with this part in a module beside it says."""
    (folder / "own_wrong.py").write_text(text)
    tree: dict[str, Any] = merge(SMALL, {})
    override = KINDS[kind].replace("NAME", "'own_wrong:part'")
    section, _, value = override.partition("=")
    if "." in section:
        tree = merge(tree, parse_overrides([override]))
    else:
        tree[section] = yaml.safe_load(value)
    (folder / "own.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(EdgemateError) as caught:
        load_and_train(folder)
    assert not (folder / "run").exists()
    return str(caught.value)


@pytest.mark.parametrize(("kind", "name", "wrong"), CASES, ids=[f"{kind}, {name}" for kind, name, _ in CASES])
def test_it_is_one_line(tmp_path: Path, kind: str, name: str, wrong: tuple[str, str | None]) -> None:
    text, said = wrong
    problem = problem_of(tmp_path, kind, text)
    assert (said or RETURNS[kind]) in problem
    assert "own_wrong:part" in problem or "_options" in problem or ".options" in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("distillation method", "class part(Method): ...", "abstract"),
        (
            "distillation method",
            "class part(Method):\n    def __init__(self, setting):\n        nn.Module.__init__(self)\n"
            "    def forward(self, *given): ...",
            "its __init__ must call super().__init__(setting)",
        ),
        (
            "distillation method",
            "class part(Method):\n    def __init__(self, setting):\n        self.layer = nn.Linear(1, 1)\n"
            "    def forward(self, *given): ...",
            "AttributeError: cannot assign module before Module.__init__() call (own_wrong.py, line 8)",
        ),
        ("head", "class part(nn.Module):\n    def __init__(self, *given):\n        super().__init__()", "must return"),
        ("augmentation", "def part(spec):\n    return lambda image: None", "must turn a uint8 tensor (C, H, W) into"),
        ("augmentation", "def part(spec):\n    return lambda image: image / 2", "not torch.float32 (1, 8, 8)"),
        ("schedule", "def part(epochs):\n    return lambda position: None", "must return a factor, not NoneType"),
        ("optimizer", "def part(groups, lr):\n    return torch.optim.SGD(groups, lr=-1)", "Invalid learning rate"),
    ],
)
def test_what_is_wrong_inside_is_one_line_too(tmp_path: Path, kind: str, text: str, said: str) -> None:
    problem = problem_of(tmp_path, kind, HEADER + text)
    assert said in problem
    assert "\n" not in problem


BUILT = (
    HEADER
    + """
count = 0

def part(tap, classes):
    global count
    count += 1
    assert not torch.empty(1).is_meta
    return Head(tap, nn.Identity(), tap.channels, classes)
"""
)


def test_an_own_head_is_built_once_and_never_on_the_meta_device(tmp_path: Path) -> None:
    (tmp_path / "own_wrong.py").write_text(BUILT)
    tree = SMALL | {"exits": {"head": "own_wrong:part"}, "optimization": SMALL["optimization"] | {"epochs": 1}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(tree))
    run = train(load_recipe(tmp_path / "own.yaml"), tmp_path / "run")
    assert sys.modules["own_wrong"].count == len(run.read_metadata().cuts)  # type: ignore[attr-defined]
