"""The exit policy of a call, from what was given of operating point, threshold, exit and deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgemate.bundle import Bundle
    from edgemate.policies import Policy


def choose_policy(
    bundle: Bundle, policy: str | Policy | None, threshold: float | None, exit: int | None, deadline_ms: float | None
) -> Policy | None:
    """One of an operating point or policy, a threshold and an exit, under a deadline if there is one; None for none.

    Raises:
        BundleError: the operating points cannot be read.
        UsageError: there is no such operating point or exit, or a number is out of range.
    """
    from edgemate.calibration import read_operating_points
    from edgemate.policies import Confidence, Deadline, FixedExit

    chosen: Policy | None = None
    if isinstance(policy, str):
        chosen = read_operating_points(bundle).get(policy).as_policy()
    elif policy is not None:
        chosen = policy
    elif threshold is not None:
        chosen = Confidence(threshold)
    elif exit is not None:
        chosen = FixedExit(exit)
        chosen.begin(0, len(bundle.manifest.exits))  # which refuses an exit that is not there
    return chosen if deadline_ms is None else Deadline(deadline_ms, inner=chosen)
