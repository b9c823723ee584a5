"""`policies.json`: named operating points, each a confidence threshold per exit and what was found to come of it."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edgemate.bundle import Bundle
from edgemate.bundle.versioned_json import read_versioned
from edgemate.errors import BundleError, UsageError
from edgemate.exits.confidence import Confidence
from edgemate.registry import closest

POLICIES_FILE = "policies.json"
FORMAT_VERSION: Literal[1] = 1

Fraction = Annotated[float, Field(ge=0, le=1)]


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Expected(_Facts):
    """Top-1 accuracy, mean chained MACs per picture, and the share of pictures that stop at each of the K exits."""

    accuracy: Fraction
    mean_macs: Annotated[float, Field(ge=0)]
    shares: Annotated[tuple[Fraction, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _shares_are_whole(self) -> Expected:
        if not math.isclose(sum(self.shares), 1, abs_tol=1e-6):
            raise ValueError(f"shares sum to {sum(self.shares)}, not 1")
        return self


class OperatingPoint(_Facts):
    """A name for one way to run the network.

    `thresholds` has K-1 numbers, one per exit but the last; `temperatures` too, where the logits were scaled.
    `expected` was found on `split` in the way `provenance` says.
    """

    name: Annotated[str, Field(min_length=1)]
    policy: Literal["confidence"] = "confidence"
    thresholds: tuple[Fraction, ...]
    temperatures: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    expected: Expected
    split: str = "calibration"
    provenance: Literal["simulated", "measured"] = "simulated"

    @model_validator(mode="after")
    def _one_per_exit(self) -> OperatingPoint:
        early = len(self.expected.shares) - 1
        for what, numbers in (("thresholds", self.thresholds), ("temperatures", self.temperatures)):
            if numbers is not None and len(numbers) != early:
                raise ValueError(f"{self.name}: {len(numbers)} {what} for {early + 1} exits; {early} needed")
        return self

    def as_policy(self) -> Confidence:
        """The exit policy it stands for."""
        return Confidence(self.thresholds, temperature=self.temperatures)


class OperatingPoints(_Facts):
    """All operating points of a bundle."""

    format_version: Literal[1] = FORMAT_VERSION
    points: tuple[OperatingPoint, ...]

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
    for point in points.points:
        if len(point.expected.shares) != exits:
            raise BundleError(
                f"{path}: operating point {point.name!r} is for {len(point.expected.shares)} exits; "
                f"the bundle has {exits}"
            )
    return points
