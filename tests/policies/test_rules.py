from __future__ import annotations

import pytest

from edgemate.errors import UsageError
from edgemate.policies import Confidence, Deadline, Entropy, FixedExit, Learned, Margin, Patience, Policy
from edgemate.policies.rules import Rule, rule_of


@pytest.mark.parametrize(
    ("policy", "rule"),
    [
        (Confidence(0.5), Rule("confidence", (0.5, 0.5), (1.0, 1.0))),
        (Entropy([0.5, 0.2], temperature=2.0), Rule("entropy", (0.5, 0.2), (2.0, 2.0))),
        (Margin(0.1, temperature=[1.0, 3.0]), Rule("margin", (0.1, 0.1), (1.0, 3.0))),
        (Patience(2), Rule("patience", (2.0, 2.0), (1.0, 1.0))),
        (FixedExit(2), Rule("confidence", (1.0, 0.0), (1.0, 1.0))),
        (FixedExit(3), Rule("confidence", (1.0, 1.0), (1.0, 1.0))),
        (Deadline(1.0, segment_ms=[1, 1, 1]), None),
        (Learned([0.5, 0.5], weights=[[0.0] * 5, [0.0] * 6]), None),
    ],
)
def test_a_policy_that_only_compares_is_a_rule(policy: Policy, rule: Rule | None) -> None:
    assert rule_of(policy, 3) == rule


def test_a_policy_of_the_users_own_is_none() -> None:
    class Own(Confidence):
        pass

    assert rule_of(Own(0.5), 3) is None


def test_a_policy_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="threshold has 2 numbers"):
        rule_of(Confidence([0.1, 0.2]), 4)
