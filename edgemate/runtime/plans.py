"""What a classifier prepares for each policy that it is given, so that the next image finds it ready."""

from __future__ import annotations

from edgemate.calibration import OperatingPoints, read_operating_points
from edgemate.errors import UsageError
from edgemate.policies import FixedExit, Policy
from edgemate.runtime.network import Network
from edgemate.runtime.segment_times import SegmentTimes
from edgemate.runtime.single_path import SinglePath

_MOST = 16
"""Policies that are kept; a caller may well make a new one for each image."""


class Plan:
    """One policy, ready for one network.

    Attributes:
        given: what was asked for: a policy, a name, or None.
        policy: that, with temperatures where it had none of its own.
        deadline_ms: its deadline, or None.
        single: what answers single images; None until `Plans.single` has made it.
    """

    __slots__ = ("deadline_ms", "given", "policy", "single")

    def __init__(self, given: Policy | str | None, policy: Policy) -> None:
        self.given = given
        self.policy = policy
        self.deadline_ms = policy.deadline_ms
        self.single: SinglePath | None = None


class Plans:
    """The plans of a classifier. Threads may share them; `points` are the bundle's, where it has any."""

    def __init__(self, network: Network, points: OperatingPoints | None, times: SegmentTimes) -> None:
        self._network = network
        self._points = points
        self._times = times
        self._kept: dict[str | int | None, Plan] = {}  # by name or by id; the plan holds the policy, so no id is reused

    def of(self, given: Policy | str | None) -> Plan:
        """The plan of a policy, an operating point's name, or None, the whole network.

        Raises:
            UsageError: it is neither, there is no such operating point, or the temperatures do not fit the policy.
        """
        key = id(given) if isinstance(given, Policy) else given
        plan = self._kept.get(key)
        if plan is None:
            plan = Plan(given, self._policy(given))
            if len(self._kept) >= _MOST:
                self._kept = {}
            self._kept[key] = plan
        return plan

    def single(self, plan: Plan) -> SinglePath:
        """What answers single images by this plan, for layout `segments`.

        Raises:
            UsageError: the policy does not fit the network.
            BackendError, BundleError: the segments were to be timed, and one fails.
        """
        if plan.single is not None:
            return plan.single
        known = not plan.policy.needs_segment_ms or self._times.is_known(1)
        path = SinglePath(self._network, self.timed(plan.policy, 1))
        if known or self._times.is_known(1):
            plan.single = path
        return path

    def timed(self, policy: Policy, batch: int) -> Policy:
        """The policy with the times of the segments for so many images, where it needs them."""
        return policy.with_segment_ms(self._times.of(batch)) if policy.needs_segment_ms else policy

    def _policy(self, given: Policy | str | None) -> Policy:
        if given is None:
            return FixedExit(self._network.exits)
        if isinstance(given, str):
            given = (self._points or read_operating_points(self._network.bundle)).get(given).as_policy()
        if not isinstance(given, Policy):
            raise UsageError(
                f"policy: is {type(given).__name__}; give an exit policy, such as Confidence(0.9), or the name of an "
                "operating point"
            )
        temperatures = self._network.temperatures
        return given if temperatures is None else given.with_temperatures(temperatures[:-1])
