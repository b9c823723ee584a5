"""What is wrong with a network, its weights or its cuts is one line from `train`, and no run folder is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from commands import invoke
from safetensors.torch import save_file

from edgemate.cli.train import train
from edgemate.errors import EdgemateError

UNTRACEABLE = """
from torch import nn

class Net(nn.Module):
    def __init__(self, in_channels, num_classes):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(in_channels, 4, 3), nn.Linear(4, num_classes)

    def forward(self, x):
        x = self.conv(x)
        if x.sum() > 0:
            x = -x
        return self.fc(x.mean((2, 3)))
"""

CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], list[str]]] = {
    "an unknown name": (
        {"backbone": "timm/mobilenetv3_smal_100"},
        {},
        {},
        ["timm has no network 'mobilenetv3_smal_100'", "timm/mobilenetv3_small_100"],
    ),
    "weights of another network": (
        {"backbone": "timm/test_efficientnet", "weights": "file:other.safetensors"},
        {},
        {},
        ["other.safetensors is of another network", "begins with other.weight", "conv_stem.weight"],
    ),
    "weights that are not there": (
        {"backbone": "timm/test_efficientnet", "weights": "file:nowhere.safetensors"},
        {},
        {},
        ["model.weights", "nowhere.safetensors"],
    ),
    "a graph that cannot be traced": (
        {"backbone": "untraceable:Net"},
        {},
        {},
        ["untraceable:Net cannot be traced", "untraceable.py:11 `if x.sum() > 0:`"],
    ),
    "an unknown cut": (
        {"backbone": "timm/test_efficientnet"},
        {"at": ["blocks.77", "global_pool"]},
        {},
        ["unknown cut point 'blocks.77'", "blocks."],
    ),
    "a place where no exit can stand": (
        {"backbone": "timm/test_efficientnet"},
        {"at": ["classifier", "global_pool"]},
        {},
        ["no exit can stand at classifier", "edgemate plan"],
    ),
    "an image size that the network cannot take": (
        {"backbone": "torchvision/vit_b_16"},
        {},
        {"image_size": 40},
        ["cannot take images of 40×40", "data.image_size"],
    ),
    "own classifier of a backbone that has none": (
        {"backbone": "resnet8"},
        {"final": "own"},
        {},
        ["comes without a classifier", "exits.final: new"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model, exits, data, words = CASES[case]
    save_file({"other.weight": torch.ones(2)}, "other.safetensors")
    Path("untraceable.py").write_text(UNTRACEABLE, encoding="utf-8")
    tree = {
        "data": {"name": "digits", "image_size": 32, "train_limit": 64, **data},
        "model": model,
        "exits": exits,
        "optimization": {"epochs": 1},
    }
    Path("recipe.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    result = invoke(train, "recipe.yaml", "--output", "run")
    assert isinstance(result.exception, EdgemateError), result.output
    text = str(result.exception)
    assert "\n" not in text
    for word in words:
        assert word in text
    assert not Path("run").exists()
