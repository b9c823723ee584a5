"""`policies.json`: named operating points, each an exit policy and what was found to come of it."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edgemate.bundle import Bundle
from edgemate.bundle.versioned_json import read_versioned
from edgemate.errors import BundleError, UsageError
from edgemate.policies.confidence import Confidence
from edgemate.policies.entropy import Entropy
from edgemate.policies.fixed import FixedExit
from edgemate.policies.learned import Learned
from edgemate.policies.margin import Margin
from edgemate.policies.patience import Patience
from edgemate.policies.policy import Policy
from edgemate.policies.score_policy import ScorePolicy
from edgemate.registry import closest
from edgemate.wording import counted

POLICIES_FILE = "policies.json"
FORMAT_VERSION: Literal[2] = 2

MEASURES: dict[str, type[ScorePolicy]] = {policy.name: policy for policy in (Confidence, Entropy, Margin)}
PolicyName = Literal["confidence", "entropy", "margin", "learned", "patience"]

Fraction = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


class _Metadata(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Spread(_Metadata):
    """Mean and standard deviation over images of the probability that comes with the answer."""

    mean: Fraction
    deviation: Annotated[float, Field(ge=0)]


class Expected(_Metadata):
    """What a policy does to the images it was chosen on.

    Attributes:
        accuracy: top-1.
        mean_macs: mean chained MACs per image.
        mean_ms: mean time per image at batch 1; None where no device has been measured.
        p99_ms: 99th percentile of it.
        fractions: of the images that stop at each of the K exits.
        probability: that comes with the answers.
    """

    accuracy: Fraction
    mean_macs: Annotated[float, Field(ge=0)]
    mean_ms: Milliseconds | None = None
    p99_ms: Milliseconds | None = None
    fractions: Annotated[tuple[Fraction, ...], Field(min_length=1)]
    probability: Spread | None = None

    @model_validator(mode="after")
    def _shares_are_whole(self) -> Expected:
        if not math.isclose(sum(self.fractions), 1, abs_tol=1e-6):
            raise ValueError(f"fractions sum to {sum(self.fractions)}, not 1")
        return self


class Guarantee(_Metadata):
    """With probability 1 − `delta` over splits, accuracy falls by `risk` at most; see `calibration/guarantee.py`.

    Tested on so many `images`, of which stopping early has `lost` and `gained` so many.
    """

    risk: Annotated[float, Field(gt=0, lt=1)]
    delta: Annotated[float, Field(gt=0, lt=1)]
    images: Count
    lost: Count
    gained: Count


class OperatingPoint(_Metadata):
    """A name for one way to run the network.

    Attributes:
        name: the name.
        policy: of which kind.
        thresholds: K-1 numbers, one per exit but the last; none for patience.
        temperatures: what the logits are divided by before they are scored, K-1 numbers; None leaves them as they are.
        patience: for patience.
        weights: for the learned score; see `Learned`.
        goal: what it was chosen to reach, for people.
        goal_reached: whether it does, on the split; a solver may have nothing that does.
        solver: what chose it.
        guarantee: what is promised of it, if anything.
        expected: what came of it on the split.
        split: on which it was chosen.
        images: of that split; None where a bundle of the first format does not say.
        provenance: how `expected` was found; its times are always those of a latency table.
    """

    name: Annotated[str, Field(min_length=1)]
    policy: PolicyName = "confidence"
    thresholds: tuple[Annotated[float, Field(ge=0)], ...]
    temperatures: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    patience: Annotated[int, Field(ge=1)] | None = None
    weights: tuple[tuple[float, ...], ...] | None = None
    goal: str = ""
    goal_reached: bool = True
    solver: str = ""
    guarantee: Guarantee | None = None
    expected: Expected
    split: str = "calibration"
    images: Count | None = None
    provenance: Literal["simulated", "measured"] = "simulated"

    @model_validator(mode="after")
    def _makes_a_policy(self) -> OperatingPoint:
        early = len(self.expected.fractions) - 1
        if self.policy == "patience":
            if self.patience is None or self.thresholds:
                raise ValueError(f"{self.name}: policy 'patience' has patience and no thresholds")
            return self
        for what, numbers in (("thresholds", self.thresholds), ("temperatures", self.temperatures)):
            if numbers is not None and len(numbers) != early:
                raise ValueError(f"{self.name}: {len(numbers)} {what} for {counted(early + 1, 'exit')}; {early} needed")
        if (self.policy == "learned") != (self.weights is not None):
            raise ValueError(f"{self.name}: policy 'learned' has weights, and no other has")
        try:
            self.as_policy()
        except UsageError as error:
            raise ValueError(f"{self.name}: {error}") from error
        return self

    def as_policy(self) -> Policy:
        """The exit policy it stands for."""
        if self.policy == "patience":
            return Patience(self.patience or 1)
        if self.policy == "learned":
            return Learned(self.thresholds, weights=self.weights or (), temperature=self.temperatures)
        return MEASURES[self.policy](self.thresholds, temperature=self.temperatures)


def describe(policy: Policy, exits: int) -> dict[str, object]:
    """The fields of an operating point that say which policy it is.

    Args:
        policy: one that an operating point can stand for; `FixedExit` only of the last exit.
        exits: K.
    """
    if isinstance(policy, FixedExit):
        return {"policy": "confidence", "thresholds": (Confidence.highest,) * (exits - 1)}
    if isinstance(policy, Patience):
        return {"policy": "patience", "thresholds": (), "patience": policy.patience}
    if isinstance(policy, Learned):
        weights = tuple(tuple(row.tolist()) for row in policy.weights)
        found = {"policy": "learned", "thresholds": policy.threshold, "weights": weights}
        return {**found, "temperatures": policy.temperature}
    if isinstance(policy, ScorePolicy):
        given = policy.threshold
        thresholds = given if isinstance(given, tuple) else (given,) * (exits - 1)
        return {"policy": policy.name, "thresholds": thresholds, "temperatures": policy.temperature}
    raise TypeError(f"{type(policy).__name__} is no operating point's policy")


class ExitTemperature(_Metadata):
    """One exit's fitted temperature, with negative log-likelihood, in nats, and calibration error before and after."""

    exit: Annotated[int, Field(ge=1)]
    temperature: Annotated[float, Field(gt=0)]
    nll_before: Annotated[float, Field(ge=0)]
    nll_after: Annotated[float, Field(ge=0)]
    ece_before: Fraction
    ece_after: Fraction


class OperatingPoints(_Metadata):
    """All operating points of a bundle.

    Attributes:
        points: the operating points.
        temperatures: of every exit, the last too, where they were fitted. Reported probabilities are scaled by them,
            and so is what a policy decides on that has no temperature of its own.
        costs: what the thresholds were chosen to save: chained MACs, or the milliseconds of `device`.
        device: whose latency table the times are of; None where there was none.
    """

    format_version: Literal[1, 2] = FORMAT_VERSION
    points: tuple[OperatingPoint, ...]
    temperatures: tuple[ExitTemperature, ...] | None = None
    costs: Literal["macs", "latency"] = "macs"
    device: str | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> OperatingPoints:
        if len(set(self.names())) < len(self.points):
            raise ValueError("two operating points have the same name")
        return self

    def names(self) -> list[str]:
        """The names, in the file's order."""
        return [point.name for point in self.points]

    def get(self, name: str) -> OperatingPoint:
        """The operating point `name`; UsageError names the closest ones when there is none."""
        for point in self.points:
            if point.name == name:
                return point
        raise UsageError(f"unknown operating point {name!r}; {closest(name, self.names())}")


def read_operating_points(bundle: Bundle) -> OperatingPoints:
    """The operating points of a bundle.

    Raises:
        BundleError: it has none, they break the schema, or they are for another number of exits.
    """
    if not bundle.has(POLICIES_FILE):
        raise BundleError(f"{bundle.path}: has no {POLICIES_FILE}, so no operating point has a name here")
    path = bundle.file(POLICIES_FILE)
    points = read_versioned(path, OperatingPoints, FORMAT_VERSION)
    exits = len(bundle.manifest.exits)
    if points.temperatures is not None and [found.exit for found in points.temperatures] != list(range(1, exits + 1)):
        raise BundleError(f"{path}: temperatures are not one per exit, 1 to {exits} in order")
    for point in points.points:
        if len(point.expected.fractions) != exits:
            raise BundleError(
                f"{path}: operating point {point.name!r} is for {counted(len(point.expected.fractions), 'exit')}; "
                f"the bundle has {exits}"
            )
    return points
