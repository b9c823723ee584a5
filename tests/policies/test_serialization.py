from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from edgemate.errors import UsageError
from edgemate.policies import Confidence, Deadline, Entropy, FixedExit, Learned, Margin, Patience, Policy
from edgemate.policies.serialization import policy_from_json
from edgemate.registry import POLICIES

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(2, 50, 4)).astype(np.float32) * 2
# For 4 classes and 3 exits, with what a table shows of each.
EXAMPLES: list[tuple[Policy, str]] = [
    (Confidence(0.9), "confidence > 0.9"),
    (Confidence([0.95, 0.6], temperature=[1.5, 0.8]), "confidence > 0.95, 0.6"),
    (Confidence([0.6, 0.6]), "confidence > 0.6"),
    (Entropy(0.6, temperature=2.0), "entropy < 0.6"),
    (Margin([0.8, 0.5]), "margin > 0.8, 0.5"),
    (Patience(1), "patience 1"),
    (FixedExit(2), "exit 2"),
    (Learned([0.4, 0.6], weights=[RANDOM.normal(size=7), RANDOM.normal(size=8)]), "learned > 0.4, 0.6"),
    (Deadline(5, segment_ms=(1, 2, 3)), "deadline 5 ms"),
    (Deadline(5.0, segment_ms=(1.0, 2.0, 3.0), inner=Confidence(0.9)), "deadline 5 ms, confidence > 0.9"),
]


def stops(policy: Policy) -> list[list[bool]]:
    decider = policy.begin(50, 3)
    return [decider.stop(exit, LOGITS[exit - 1], 0.5).tolist() for exit in (1, 2)]


@pytest.mark.parametrize(("policy", "description"), EXAMPLES, ids=[description for _, description in EXAMPLES])
def test_a_policy_survives_json(policy: Policy, description: str) -> None:
    parameters = json.loads(json.dumps(policy.parameters(), allow_nan=False))
    again = policy_from_json(policy.name, parameters)
    assert type(again) is type(policy)
    assert again.parameters() == policy.parameters()
    assert stops(again) == stops(policy)
    assert again.description == description


def test_every_registered_policy_has_its_registered_name_and_an_example() -> None:
    assert {name: POLICIES.get(name).name for name in POLICIES.names()} == {name: name for name in POLICIES.names()}
    assert {policy.name for policy, _ in EXAMPLES} == set(POLICIES.names())


def test_temperatures_are_given_once_and_only_to_what_compares_probabilities() -> None:
    temperatures = (2.0, 3.0)
    assert Confidence(0.5).with_temperatures(temperatures).temperatures(3) == temperatures
    assert Confidence(0.5, temperature=1.0).with_temperatures(temperatures).temperatures(3) == (1.0, 1.0)
    learned = Learned([0.4], weights=[np.zeros(7)]).with_temperatures([2.0])
    assert learned.temperature == (2.0,)
    assert learned.with_temperatures([5.0]) is learned
    assert Deadline(1.0, inner=Entropy(0.1)).with_temperatures(temperatures).inner.temperatures(3) == temperatures
    for policy in (Patience(1), FixedExit(1), Deadline(1.0)):
        assert policy.with_temperatures(temperatures) is policy


def test_what_the_runtime_asks_of_a_policy() -> None:
    assert [FixedExit(2).fixed_exit, Confidence(0.5).fixed_exit, Deadline(3.0).fixed_exit] == [2, None, None]
    assert [FixedExit(2).deadline_ms, Deadline(3.0).deadline_ms] == [None, 3.0]
    assert [Deadline(3.0).needs_segment_ms, Deadline(3.0, segment_ms=(1.0,)).needs_segment_ms] == [True, False]
    assert FixedExit(2).confidence_thresholds(3) == (1.0, 0.0)
    assert Confidence(0.5, temperature=1.0).confidence_thresholds(3) == (0.5, 0.5)
    for policy in (Confidence(0.5, temperature=2.0), Margin(0.5), Patience(1), Deadline(3.0)):
        assert policy.confidence_thresholds(3) is None
    assert [Margin(0.5).thresholds(3), Patience(1).thresholds(3)] == [(0.5, 0.5), None]


@pytest.mark.parametrize(
    ("name", "parameters", "problem"),
    [
        ("confidense", {}, "unknown exit policy 'confidense'; did you mean 'confidence'"),
        ("edgemate.policies.fixed:FixedExit", {"exit": 1}, "unknown exit policy"),
        ("confidence", {"threshold": 0.5, "color": 1}, "confidence: invalid parameters: .*color"),
        ("confidence", {"threshold": 10**400}, "confidence: invalid parameters"),
        ("confidence", {"threshold": 2}, "confidence: threshold must be from 0 to 1, not 2"),
        ("fixed", {"exit": 1.5}, "fixed: invalid parameters: .*integer"),
        ("deadline", {"ms": 1, "inner": ["confidence"]}, "deadline: invalid parameters: inner must have the keys"),
        ("deadline", {"ms": 1, "inner": {"policy": "os:system", "parameters": {}}}, "unknown exit policy 'os:system'"),
        ("learned", {"threshold": [0.5], "weights": [["a"]]}, "learned: invalid parameters"),
    ],
)
def test_what_cannot_be_a_policy_is_named(name: str, parameters: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        policy_from_json(name, parameters)
