"""The options of a calibration: which operating points to find, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgemate.wording import counted


@dataclass(frozen=True)
class Request:
    """An operating point to find. At most one goal is given; with none it is the whole network.

    Attributes:
        name: of the operating point.
        max_drop: the largest accuracy drop on the split, as a fraction.
        mean_macs: the largest mean number of chained MACs per image.
        mean_ms: the largest mean time per image in milliseconds, on the device of the latency table.
        risk: with `delta`: the largest accuracy drop, certified, as a fraction; see `calibration/guarantee.py`.
        delta: the probability that the certified bound fails.
    """

    name: str
    max_drop: float | None = None
    mean_macs: float | None = None
    mean_ms: float | None = None
    risk: float | None = None
    delta: float = 0.05

    @property
    def goal(self) -> str:
        """The goal in words."""
        if self.max_drop is not None:
            return f"at most {counted(100 * self.max_drop, 'point')} less accuracy"
        if self.mean_macs is not None:
            return f"at most {self.mean_macs:g} MACs on average"
        if self.mean_ms is not None:
            return f"at most {self.mean_ms:g} ms on average"
        if self.risk is not None:
            return f"at most {counted(100 * self.risk, 'point')} less accuracy with probability {1 - self.delta:g}"
        return "the whole network"


DEFAULT_REQUESTS = (
    Request("fast", max_drop=0.02),
    Request("balanced", max_drop=0.005),
    Request("accurate", max_drop=0.0),
    Request("full"),
)


@dataclass(frozen=True)
class CalibrationOptions:
    """What to find and how, whether for a run, a bundle or stored logits.

    Attributes:
        requests: the operating points to find.
        solver: a registered solver's name.
        score: the name of the registered policy whose score the thresholds are compared with, for solvers that leave
            it open; confidence if None.
        fit_temperatures: whether to fit a temperature per exit. The conditional graph needs thresholds without.
    """

    requests: Sequence[Request] = DEFAULT_REQUESTS
    solver: str = "direct"
    score: str | None = None
    fit_temperatures: bool = True
