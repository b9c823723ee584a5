"""Where images stop, from what a call was given of operating point, threshold, exit and deadline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgemate.bundle import Bundle
    from edgemate.bundle.manifest import Layout
    from edgemate.policies import Policy
    from edgemate.runtime.classifier import OnFailure


@dataclass(frozen=True)
class StopChoice:
    """One of an operating point or policy, a threshold and an exit, under a deadline if there is one.

    Attributes:
        policy: name of an operating point, or an exit policy.
        threshold: of the probability, 0 to 1.
        exit: counted from 1.
        deadline_ms: in milliseconds.

    Raises:
        UsageError: more than one of the first three is given.
    """

    policy: str | Policy | None
    threshold: float | None
    exit: int | None
    deadline_ms: float | None

    def __post_init__(self) -> None:
        from edgemate.errors import UsageError

        if sum(option is not None for option in (self.policy, self.threshold, self.exit)) > 1:
            raise UsageError("`policy`, `threshold` and `exit` exclude each other; give one")

    @property
    def operating_point(self) -> str | None:
        """The name of the operating point that decides alone; None where something else does."""
        return self.policy if isinstance(self.policy, str) and self.deadline_ms is None else None

    def policy_of(self, bundle: Bundle) -> Policy | None:
        """The exit policy for a bundle; None for none, which is the whole network.

        Raises:
            BundleError: the operating points cannot be read.
            UsageError: there is no such operating point or exit, or a number is out of range.
        """
        from edgemate.calibration import read_operating_points
        from edgemate.policies import Confidence, Deadline, FixedExit

        chosen: Policy | None = None
        if isinstance(self.policy, str):
            chosen = read_operating_points(bundle).get(self.policy).as_policy()
        elif self.policy is not None:
            chosen = self.policy
        elif self.threshold is not None:
            chosen = Confidence(self.threshold)
        elif self.exit is not None:
            chosen = FixedExit(self.exit)
            chosen.begin(0, len(bundle.manifest.exits))  # which refuses an exit that is not there
        return chosen if self.deadline_ms is None else Deadline(self.deadline_ms, inner=chosen)

    def layout(self, bundle: Bundle, on_failure: OnFailure) -> Layout:
        """The graphs that answer soonest, of those that the bundle has.

        A prefix alone has no earlier exit to fall back to. Where there are no segments, the last prefix is the whole
        network.
        """
        there = bundle.manifest.graphs
        if self.exit is not None and self.deadline_ms is None and on_failure == "raise":
            return "prefixes" if "prefixes" in there else "segments"
        whole = self.policy is None and self.threshold is None and self.deadline_ms is None
        return "prefixes" if whole and "segments" not in there and "prefixes" in there else "segments"
