"""`policies.json`: named operating points, each an exit policy with the accuracy and cost expected of it."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from edgemate.bundle import Bundle, replace_file
from edgemate.bundle.versioned_json import read_versioned
from edgemate.errors import BundleError, UsageError
from edgemate.limits import POINTS
from edgemate.policies import Policy
from edgemate.policies.serialization import policy_from_json
from edgemate.policies.temperatures import HIGHEST, LOWEST
from edgemate.registry import POLICIES, closest
from edgemate.wording import counted

POLICIES_FILE = "policies.json"
FORMAT_VERSION: Literal[3] = 3
REMEDY = "run edgemate calibrate again"  # for a file of an older format

Fraction = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


class _Metadata(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Spread(_Metadata):
    """Mean and standard deviation, over images, of the probability of the predicted class."""

    mean: Fraction
    deviation: Annotated[float, Field(ge=0)]


class Expected(_Metadata):
    """Accuracy and cost of a policy on the images it was chosen on.

    Attributes:
        accuracy: top-1.
        mean_macs: mean chained MACs per image.
        mean_ms: mean time per image at batch 1, in milliseconds; None where no device has been measured.
        p99_ms: 99th percentile of that time.
        fractions: the fraction of images that stop at each exit, `(K,)`.
        probability: of the predicted class; None where no logits are finite.
    """

    accuracy: Fraction
    mean_macs: Annotated[float, Field(ge=0)]
    mean_ms: Milliseconds | None = None
    p99_ms: Milliseconds | None = None
    fractions: Annotated[tuple[Fraction, ...], Field(min_length=1)]
    probability: Spread | None = None

    @model_validator(mode="after")
    def _fractions_sum_to_one(self) -> Expected:
        if not math.isclose(sum(self.fractions), 1, abs_tol=1e-6):
            raise ValueError(f"fractions sum to {sum(self.fractions)}, not 1")
        return self


class Guarantee(_Metadata):
    """A certified bound: with probability 1 − `delta` over splits, accuracy falls by at most `risk`.

    See `calibration/guarantee.py`.

    Attributes:
        risk: a fraction of all images.
        delta: a probability.
        images: how many it was tested on.
        lost: of those, how many only the whole network classifies correctly.
        gained: how many only the early exit classifies correctly.
    """

    risk: Annotated[float, Field(gt=0, lt=1)]
    delta: Annotated[float, Field(gt=0, lt=1)]
    images: Count
    lost: Count
    gained: Count


class OperatingPoint(_Metadata):
    """A named way to run the network.

    Attributes:
        name: the name.
        policy: the registered name of an exit policy.
        parameters: of the policy, as its `Policy.parameters` gives them.
        goal: what it was chosen to reach, as text.
        goal_reached: whether it reaches the goal on the split; a solver may find nothing that does.
        solver: the solver that chose it.
        guarantee: the certified bound on the accuracy lost, if there is one.
        expected: accuracy and cost on the split.
        split: the split that it was chosen on.
        images: how many that split has; None where it is not known.
        provenance: how `expected` was found; its times are always those of a latency table.
    """

    name: Annotated[str, Field(min_length=1)]
    policy: str
    parameters: dict[str, Any]
    goal: str = ""
    goal_reached: bool = True
    solver: str = ""
    guarantee: Guarantee | None = None
    expected: Expected
    split: str = "calibration"
    images: Count | None = None
    provenance: Literal["simulated", "measured"] = "simulated"

    @classmethod
    def of(cls, name: str, policy: Policy, **fields: Any) -> OperatingPoint:
        """The operating point of a policy; `fields` are the other fields, of which `expected` is required.

        Raises:
            UsageError: the policy's name is not registered.
        """
        if policy.name not in POLICIES:
            raise UsageError(f"{name}: {POLICIES.unknown(policy.name)}")
        return cls.model_validate({"name": name, "policy": policy.name, "parameters": policy.parameters(), **fields})

    @model_validator(mode="after")
    def _makes_a_policy(self) -> OperatingPoint:
        try:
            self.as_policy().check(self.exits)
        except UsageError as error:
            raise ValueError(f"{self.name}: {error}") from error
        return self

    @property
    def exits(self) -> int:
        """K, the number of exits of the network that it is for."""
        return len(self.expected.fractions)

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """The policy's thresholds, one per exit but the last, `(K-1,)`; None for a policy without thresholds."""
        return self.as_policy().thresholds(self.exits)

    def as_policy(self) -> Policy:
        """The exit policy."""
        return policy_from_json(self.policy, self.parameters)


class ExitTemperature(_Metadata):
    """One exit's fitted temperature, and what it does to the calibration split.

    Attributes:
        exit: k, counted from 1.
        temperature: what the logits are divided by.
        nll_before, nll_after: negative log-likelihood in nats, without and with it.
        ece_before, ece_after: expected calibration error in [0, 1], without and with it.
    """

    exit: Annotated[int, Field(ge=1)]
    temperature: Annotated[float, Field(ge=LOWEST, le=HIGHEST)]
    nll_before: Annotated[float, Field(ge=0)]
    nll_after: Annotated[float, Field(ge=0)]
    ece_before: Fraction
    ece_after: Fraction


def _not_too_many(points: Any) -> Any:
    """Before a policy is made of each."""
    if isinstance(points, (list, tuple)):
        POINTS.check(len(points))
    return points


class OperatingPoints(_Metadata):
    """All operating points of a bundle.

    Attributes:
        points: the operating points.
        temperatures: one per exit, `(K,)`, where they were fitted. Reported probabilities are computed with them, and
            so are the scores of a policy without temperatures of its own.
        costs: what the thresholds minimize: chained MACs, or milliseconds on `device`.
        device: the device of the latency table that the times come from; None without one.
    """

    format_version: Literal[3] = FORMAT_VERSION
    points: Annotated[tuple[OperatingPoint, ...], BeforeValidator(_not_too_many), Field(min_length=1)]
    temperatures: tuple[ExitTemperature, ...] | None = None
    costs: Literal["macs", "latency"] = "macs"
    device: str | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> OperatingPoints:
        if len(set(self.names())) < len(self.points):
            raise ValueError("two operating points have the same name")
        return self

    def names(self) -> list[str]:
        """The names, in the order of the file."""
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
        BundleError: it has none, they are of another format, they break the schema, or they are for another number of
            exits.
    """
    if not bundle.has(POLICIES_FILE):
        raise BundleError(f"{bundle.path}: has no {POLICIES_FILE}, so there are no operating points")
    path = bundle.file(POLICIES_FILE)
    points = read_versioned(path, OperatingPoints, FORMAT_VERSION, remedy=REMEDY)
    exits = len(bundle.manifest.exits)
    if points.temperatures is not None and [found.exit for found in points.temperatures] != list(range(1, exits + 1)):
        raise BundleError(f"{path}: temperatures are not one per exit, 1 to {exits} in order")
    for point in points.points:
        if point.exits != exits:
            raise BundleError(
                f"{path}: operating point {point.name!r} is for {counted(point.exits, 'exit')}; the bundle has {exits}"
            )
    return points


def write_operating_points(bundle: Bundle, points: OperatingPoints) -> Bundle:
    """Replace the bundle's `policies.json`, and its hash in the manifest; the bundle with the new manifest."""
    content = json.dumps(points.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return replace_file(bundle, POLICIES_FILE, content.encode())
