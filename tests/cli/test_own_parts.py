"""A part is one file and one registry line: parts in a package of one's own, used by `edgemate train`."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from edgemate import registry
from edgemate.cli.main import main
from edgemate.runs import Run
from recipes import SMALL

METHOD = """
from edgemate.distillation import Loss, Method
from edgemate.distillation.terms import cross_entropies

class LastHalf(Method):
    '''Labels, for the later exits only.'''

    def __init__(self, setting, *, weight: float = 1.0) -> None:
        super().__init__(setting)
        self.weight = weight

    def forward(self, outputs, batch, progress):
        later = outputs.logits[:, self.setting.exits // 2 :]
        total = self.weight * cross_entropies(later, batch.labels, self.setting.label_smoothing).sum()
        return Loss(total, {"labels": total.detach()})
"""
BACKBONE = """
from torch import nn
from edgemate.models import Backbone, Tap
from edgemate.models.backbone import Block

def two_convolutions(channels: int, *, width: int = 4) -> Backbone:
    '''Two strided convolutions.'''
    blocks = {
        "one": Block(nn.Sequential(nn.Conv2d(channels, width, 3, 2, 1), nn.ReLU())),
        "two": Block(nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.ReLU())),
    }
    taps = {"one": Tap(width, 2 * width, 1), "two": Tap(2 * width, 2 * width, 0)}
    return Backbone(blocks, taps, default_cuts=("one", "two"))
"""
HEAD = """
from torch import nn
from edgemate.models import Head, Tap

def pointwise(tap: Tap, classes: int, *, width: int = 8) -> Head:
    '''A 1x1 convolution, then pool and linear.'''
    return Head(tap, nn.Conv2d(tap.channels, width, 1), width, classes)
"""
PARTS = {
    "last_half": (registry.METHODS, "method", METHOD, "LastHalf"),
    "two_convolutions": (registry.BACKBONES, "backbone", BACKBONE, "two_convolutions"),
    "pointwise": (registry.HEADS, "head", HEAD, "pointwise"),
}


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "users_parts"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    for _, module, text, _ in PARTS.values():
        (folder / f"{module}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)


def train_with(method: str, backbone: str, head: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    recipe = SMALL | {
        "model": {"backbone": backbone, "options": {"width": 5}},
        "exits": {"head": head},
        "distillation": {"method": method},
        "optimization": SMALL["optimization"] | {"epochs": 1},
    }
    Path("own.yaml").write_text(yaml.safe_dump(recipe))
    monkeypatch.setattr(sys, "argv", ["edgemate", "train", "own.yaml", "--output", "run", "--quiet"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    return Run.open(Path("run"))


def check(run: Run) -> None:
    resolved = run.read_recipe()
    assert resolved.model.options == {"width": 5}
    assert resolved.exits.options == {"width": 8}
    assert resolved.distillation.options == {"weight": 1.0}
    assert run.read_metadata().cuts == ("one", "two")
    assert len(run.read_metrics()["accuracy"]["test"]["exits"]) == 2


def test_one_registry_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, (table, module, _, attribute) in PARTS.items():
        monkeypatch.setitem(table._targets, name, f"users_parts.{module}:{attribute}")
    check(train_with("last_half", "two_convolutions", "pointwise", monkeypatch))


def test_a_dotted_path_stands_for_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    method, backbone, head = (f"users_parts.{module}:{attribute}" for _, module, _, attribute in PARTS.values())
    check(train_with(method, backbone, head, monkeypatch))


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs onnxruntime")
@pytest.mark.parametrize("backend", ["os:system", "json:loads", "builtins:dict"])
def test_a_backend_that_is_none_is_one_line(own_bundle: Path, backend: str) -> None:
    from edgemate.errors import UsageError
    from edgemate.runtime import AnytimeClassifier

    with pytest.raises(UsageError, match=f"backend '{backend}' (fails|returns)"):
        AnytimeClassifier.load(own_bundle, backend)
