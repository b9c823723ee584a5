"""Policies as numbers, which a kernel compares."""

from __future__ import annotations

import pytest

from edgemate.errors import UsageError
from edgemate.policies import Confidence, Deadline, Entropy, FixedExit, Margin, Patience, Policy
from edgemate.policies.policy import rule_of
from edgemate.policies.single import StopRule


@pytest.mark.parametrize(
    ("policy", "rule"),
    [
        (Confidence(0.5), StopRule("confidence", (0.5, 0.5), (1.0, 1.0))),
        (Entropy([0.5, 0.25], temperature=2.0), StopRule("entropy", (0.5, 0.25), (2.0, 2.0))),
        (Margin(0.125, temperature=[1.0, 3.0]), StopRule("margin", (0.125, 0.125), (1.0, 3.0))),
        (Patience(2), StopRule("patience", (2.0, 2.0), (1.0, 1.0))),
        (FixedExit(2), StopRule("confidence", (1.0, 0.0), (1.0, 1.0))),
        (Deadline(1.0, segment_ms=[1, 1, 1]), None),
    ],
)
def test_a_policy_that_only_compares_is_a_rule(policy: Policy, rule: StopRule | None) -> None:
    assert rule_of(policy, 3) == rule


def test_a_policy_with_a_begin_of_its_own_is_none() -> None:
    class Own(Patience):
        def begin(self, images: int, exits: int):  # type: ignore[no-untyped-def]
            return super().begin(images, exits)

    assert rule_of(Own(1), 3) is None


def test_a_rule_that_does_not_fit_the_network_is_refused() -> None:
    with pytest.raises(UsageError, match="threshold has 2 numbers"):
        rule_of(Confidence([0.1, 0.2]), 4)
