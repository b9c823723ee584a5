from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from commands import invoke

from edgemate.cli.plan import plan
from edgemate.errors import UsageError
from recipes import SMALL


def test_the_cut_points_and_exits_are_shown() -> None:
    result = invoke(plan, "resnet20", "--classes", 10, "--exits", 3)
    assert result.exit_code == 0, result.output
    shown = result.stdout
    assert "resnet20: 3×32×32, 10 classes" in shown
    for text in ("separable head, M MACs", "stage2.2 (stage2)", "16×32×32", "65.5 kB", "bytes that cross"):
        assert text in shown
    assert "tensors" not in shown  # one passes everywhere
    assert "in all: 40.8 M MACs and 272 k parameters, with a separable head at its end" in shown
    assert "exits: 1 stage1.2 (35.8 %), 2 stage2.2 (" in shown
    assert "warning" not in shown


def test_json_is_all_of_it() -> None:
    found = json.loads(invoke(plan, "torchvision/shufflenet_v2_x0_5", "--image-size", 64, "--json").stdout)
    assert (found["image"], found["classes"], found["own_classifier"]) == ([3, 64, 64], 1000, True)
    marked = [cut["name"] for cut in found["cuts"] if cut["exit"] is not None]
    assert found["exits"] == marked
    assert len(marked) == 4
    assert found["cuts"][-1]["macs"] + found["cuts"][-1]["head_macs"] == found["macs"]
    assert len(found["warnings"]) >= 1


def test_warnings_are_lines_of_their_own() -> None:
    shown = invoke(plan, "torchvision/shufflenet_v2_x0_5", "--image-size", 64).stdout
    [warning] = [line for line in shown.splitlines() if line.startswith("warning: images of 64×64")]
    assert warning.endswith("set an image size of 128 or more")


def test_a_recipe_is_planned_with_overrides(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    shown = invoke(plan, path, "--set", "exits.at=[stage2, stage3]").stdout
    assert f"resnet8 ({path}): 1×8×8, 10 classes" in shown
    assert "exits: 1 stage2.0 (" in shown


def test_progress_is_on_standard_error() -> None:
    result = invoke(plan, "resnet8")
    assert "counting MACs" in result.stderr
    assert "counting MACs" not in result.stdout
    assert invoke(plan, "resnet8", "--quiet").stderr == ""


def test_an_unknown_network_is_an_error_with_the_closest_names() -> None:
    error = invoke(plan, "torchvision/resnet17").exception
    assert isinstance(error, UsageError)
    assert "did you mean torchvision/resnet" in str(error)
    pytest.importorskip("timm")
    error = invoke(plan, "timm/mobilenetv3_smal").exception
    assert isinstance(error, UsageError)
    assert "did you mean timm/mobilenetv3_small" in str(error)
