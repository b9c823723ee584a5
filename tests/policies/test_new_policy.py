"""A new policy is one file and one registry line: a package that is made here, and nothing else of edgemate changed."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from bundles import own_bundle, small_bundle
from commands import invoke
from PIL import Image
from pydantic import ValidationError

from edgemate.bundle import Bundle
from edgemate.calibration import (
    OperatingPoint,
    OperatingPoints,
    read_operating_points,
    simulate,
    write_operating_points,
)
from edgemate.cli.calibrate import calibrate
from edgemate.cli.classify import classify
from edgemate.registry import POLICIES

__all__ = ["own_bundle", "small_bundle"]

EVERY_OTHER = '''
import numpy as np

from edgemate.policies import Decider, Policy


class EveryOther(Policy):
    """Stop every other image of a batch at `exit`, the first one included."""

    name = "every_other"

    def __init__(self, exit):
        self.exit = exit

    def begin(self, images, exits):
        return EveryOtherDecider(self.exit)

    def parameters(self):
        return {"exit": self.exit}

    @property
    def description(self):
        return f"every other image at exit {self.exit}"


class EveryOtherDecider(Decider):
    def __init__(self, exit):
        self.exit = exit

    def decide(self, exit, logits, elapsed_ms):
        return (np.arange(len(logits)) % 2 == 0) & (exit == self.exit)
'''

COLLISION = '''
from edgemate.policies import ScorePolicy
from edgemate.policies.scores import softmax


class Collision(ScorePolicy):
    """Stop where the sum of the squared probabilities is above `threshold`, 0 to 1."""

    name = "collision"
    highest = 1.0

    @staticmethod
    def score(logits):
        return (softmax(logits) ** 2).sum(axis=1)
'''


@pytest.fixture
def new_policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "packages" / "new_policies"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "every_other.py").write_text(EVERY_OTHER)
    (package / "collision.py").write_text(COLLISION)
    monkeypatch.syspath_prepend(package.parent)
    targets = {"every_other": "new_policies.every_other:EveryOther", "collision": "new_policies.collision:Collision"}
    monkeypatch.setattr(POLICIES, "_targets", {**POLICIES._targets, **targets})


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.new("RGB", (8, 8)).save(tmp_path / "image.png")
    return tmp_path / "image.png"


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs onnxruntime")
@pytest.mark.usefixtures("new_policies")
def test_it_is_simulated_written_into_a_bundle_and_used_by_name(own_bundle: Path, image: Path) -> None:
    bundle = Bundle.open(own_bundle)
    stored = bundle.calibration()
    policy = POLICIES.get("every_other")(exit=2)
    found = simulate(stored.logits, stored.labels, [1.0, 2.0, 3.0], policy)
    assert found.fractions == (0.0, 0.5, 0.5)
    expected = {"accuracy": found.accuracy, "mean_macs": found.mean_cost, "fractions": found.fractions}
    write_operating_points(bundle, OperatingPoints(points=(OperatingPoint.of("half", policy, expected=expected),)))

    point = read_operating_points(Bundle.open(own_bundle)).get("half")
    assert (point.policy, point.parameters) == ("every_other", {"exit": 2})
    assert point.as_policy().description == "every other image at exit 2"
    result = invoke(classify, own_bundle, image, "--policy", "half", "--threads", 1, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["exit"] == 2


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs onnxruntime")
@pytest.mark.usefixtures("new_policies")
def test_one_with_a_score_is_calibrated_too(own_bundle: Path, image: Path) -> None:
    result = invoke(calibrate, own_bundle, "--score", "collision", "--risk", 0.5)
    assert result.exit_code == 0, result.output
    assert "collision > " in result.stdout
    points = read_operating_points(Bundle.open(own_bundle))
    assert [point.policy for point in points.points] == ["collision"] * 3 + ["fixed", "collision"]
    stored = Bundle.open(own_bundle).calibration()
    for point in points.points:
        done = simulate(stored.logits, stored.labels, [1.0, 2.0, 3.0], point.as_policy())
        assert done.fractions == point.expected.fractions
    result = invoke(classify, own_bundle, image, "--policy", "fast", "--threads", 1, "--json")
    assert result.exit_code == 0, result.output


def test_without_its_registry_line_a_bundle_cannot_name_it() -> None:
    with pytest.raises(ValidationError, match="unknown exit policy 'every_other'"):
        OperatingPoint.model_validate(
            {
                "name": "half",
                "policy": "every_other",
                "parameters": {"exit": 2},
                "expected": {"accuracy": 1.0, "mean_macs": 1.0, "fractions": [0.0, 0.5, 0.5]},
            }
        )
