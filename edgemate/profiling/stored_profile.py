"""Reading a `profile.json` that was written earlier."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgemate.errors import UsageError
from edgemate.json_files import read_json
from edgemate.limits import COST, PROFILE_BYTES
from edgemate.profiling.profile_result import FORMAT_VERSION
from edgemate.wording import key_path, other_format, shortened

REMEDY = "name the profile.json of an earlier profile of one run or bundle"


_LARGEST = 1e12
Figure = Annotated[float, Field(ge=0, le=_LARGEST)]
"""Milliseconds or millijoules. Beyond, sums and quotients would not be finite."""
Bound = Annotated[float, Field(ge=-_LARGEST, le=_LARGEST)]
Count = Annotated[int, Field(ge=0, le=COST.most)]
Number = Annotated[int, Field(ge=1, le=COST.most)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Lenient(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class StoredLatency(_Lenient):
    """The figures of a latency that comparing needs; see `edgemate.latency.Latency`."""

    p50: Figure
    p50_interval: tuple[Bound, Bound] | None = None
    p25: Figure | None = None
    p75: Figure | None = None


class StoredEnergy(_Lenient):
    """The energy of an image; see `EnergyPerImage`."""

    millijoules: Bound


class StoredTiming(_Lenient):
    """One timing; see `Timing.to_json`."""

    library: str
    graphs: str
    exit: Number
    batch: Number
    latency: StoredLatency
    energy: StoredEnergy | None = None


class StoredLoading(_Lenient):
    """What one library timed; see `Loading`."""

    library: str
    graphs: str
    backend: dict[str, str] = {}


class StoredExit(_Lenient):
    """One exit; see `ExitProfile`."""

    exit: Number
    name: str
    macs: Count
    chained_macs: Count
    parameters: Count
    peak_activation_bytes: Count | None = None
    prefix_bytes: Count | None = None
    segments_bytes: Count | None = None
    accuracy: Fraction


class StoredReading(_Lenient):
    """A reading of the machine; see `Reading`."""

    value: Any = None


class StoredMoment(_Lenient):
    """The machine at one moment; see `Conditions`."""

    power_mode: StoredReading = StoredReading()
    governors: StoredReading = StoredReading()


class StoredConditions(_Lenient):
    """The machine before and after."""

    before: StoredMoment = StoredMoment()


class StoredProfile(_Lenient):
    """The fields of `profile.json` that comparing needs. Fields that it does not know are ignored."""

    run: str
    machine: dict[str, Any]
    threads: Count
    split: str
    images: Count
    data: str | None = None
    network: dict[str, Any]
    exits: Annotated[tuple[StoredExit, ...], Field(min_length=1)]
    timings: Annotated[tuple[StoredTiming, ...], Field(min_length=1)]
    loading: tuple[StoredLoading, ...] = ()
    conditions: StoredConditions = StoredConditions()
    warnings: tuple[str, ...] = ()

    @property
    def scored_on(self) -> tuple[str, str | None, int]:
        """What its accuracies are of: split, data given and number of images."""
        return self.split, self.data, self.images

    @property
    def device(self) -> dict[str, Any]:
        """What two profiles whose times are compared have in common."""
        return describe_device(self.machine, self.threads, self.conditions.before.power_mode.value)


def describe_device(machine: Mapping[str, Any], threads: int, power_mode: str | None) -> dict[str, Any]:
    """The device as `StoredProfile.device` describes it, from the metadata of a machine."""
    return {
        "processor": machine.get("processor"),
        "cores": machine.get("cores"),
        "threads": threads,
        "power mode": power_mode,
    }


def read_stored_profile(path: Path) -> StoredProfile:
    """Read a `profile.json`.

    Raises:
        UsageError: it is missing, broken, or of another format.
    """
    try:
        content = read_json(path, PROFILE_BYTES)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: {error.strerror}; name the profile.json of an earlier profile"
        ) from error
    except ValueError as error:
        raise UsageError(f"{path}: not valid JSON: {error}; {REMEDY}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path}: not a profile; {REMEDY}")
    version = content.get("format_version")
    if not isinstance(version, int) and "exits" in content:
        version = 0  # before the format had a number
    problem = other_format(version, FORMAT_VERSION, "profile it again") if isinstance(version, int) else None
    if problem is not None:
        raise UsageError(f"{path}: {problem}")
    return parse_profile(content, str(path))


def parse_profile(content: Any, source: str) -> StoredProfile:
    """The profile in JSON values; UsageError names `source` and the first offending key."""
    try:
        found = StoredProfile.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = key_path(first["loc"])
        raise UsageError(f"{source}: not a profile: {key}: {shortened(first['msg'])}; {REMEDY}") from error
    named = found.network.get("exits")
    if isinstance(named, list) and len(named) != len(found.exits):
        # An exit without figures would be compared with nothing, and pass.
        raise UsageError(f"{source}: not a profile: exits: has {len(found.exits)}, its network {len(named)}; {REMEDY}")
    return found
