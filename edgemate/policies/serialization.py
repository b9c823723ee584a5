"""Policies as JSON: a registered name and its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgemate.errors import UsageError
from edgemate.policies.policy import Policy
from edgemate.registry import POLICIES


def policy_from_json(name: str, parameters: Mapping[str, Any]) -> Policy:
    """The policy of a registered name.

    A dotted path is refused: a bundle may come from anywhere, and must not name what is imported.

    Raises:
        UsageError: the name is not registered, or the parameters do not fit it.
    """
    if name not in POLICIES:
        raise UsageError(POLICIES.unknown(name))
    try:
        policy: Policy = POLICIES.get(name).from_parameters(parameters)  # type: ignore[attr-defined]
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{name}: invalid parameters: {error}") from error
    return policy
