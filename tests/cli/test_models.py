from __future__ import annotations

import json

import pytest
from commands import invoke

from edgemate.cli.models import models
from edgemate.errors import UsageError
from edgemate.registry import BACKBONES


def test_names_are_lines() -> None:
    assert invoke(models, "vgg1?_bn").stdout.split() == ["vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"]
    assert "torchvision/resnet18" in invoke(models, "torchvision/*").stdout.splitlines()


def test_without_a_pattern_the_libraries_are_counted() -> None:
    pytest.importorskip("timm")
    result = invoke(models)
    lines = result.stdout.splitlines()
    assert lines[: len(BACKBONES.names())] == BACKBONES.names()
    assert any(line.startswith("timm/…  1,") and "edgemate models 'timm/*'" in line for line in lines)
    assert "counting timm's networks" in result.stderr
    found = json.loads(invoke(models, "--json").stdout)
    assert found["names"] == BACKBONES.names()
    assert set(found["libraries"]) == {"timm/", "torchvision/"}


def test_no_match_is_an_error() -> None:
    error = invoke(models, "torchvision/resnet19").exception
    assert isinstance(error, UsageError)
    assert "the closest names are torchvision/resnet" in str(error)
