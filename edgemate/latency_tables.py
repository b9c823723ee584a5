"""Latency tables, `latency/<device>.json`: the time to stop at each exit on a device, measured by `edgemate bench`.

They are in the bundle's folder but, like engines, not in its manifest: they belong to the device, not to the network.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from edgemate import files
from edgemate.bundle import LATENCY_FOLDER, Bundle
from edgemate.bundle.manifest import SIGNATURE_FILE
from edgemate.bundle.versioned_json import read_versioned
from edgemate.errors import BundleError, UsageError
from edgemate.machine import memory_gib, processor
from edgemate.registry import closest
from edgemate.sensors.speed import read_speed_settings, speed_differences
from edgemate.trust import Ledger
from edgemate.wording import counted, shortened

FORMAT_VERSION: Literal[2] = 2
MOST_BYTES = 1 << 20
QUANTILES = (*range(100), 99.5, 99.9, 100)

_LONGEST_MS = 1e9
"""11 days. Sums of numbers near the largest ones are not finite any more."""
Milliseconds = Annotated[float, Field(ge=0, le=_LONGEST_MS)]
_MEMORY = "memory_gib"  # of `machine_metadata`
TAG = r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}"


class StopTimes(BaseModel):
    """The times of one exit at batch 1.

    Attributes:
        exit: k, 1-based.
        mean_ms: mean time of a whole call that stops at this exit, all earlier exits included, in milliseconds.
        quantiles_ms: of that time, at 0, 1, … 99, 99.5, 99.9 and 100 %.
        segment_p99_ms: 99th percentile of this exit's segment and the decision after it, in milliseconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    exit: Annotated[int, Field(ge=1)]
    mean_ms: Milliseconds
    quantiles_ms: Annotated[tuple[Milliseconds, ...], Field(min_length=len(QUANTILES), max_length=len(QUANTILES))]
    segment_p99_ms: Milliseconds


class LatencyTable(BaseModel):
    """The times of all exits on one device.

    Attributes:
        device: the device's tag, which is also the file's name.
        machine: metadata of the machine, with the power mode and the clocks that it was set to; see
            `read_speed_settings`.
        backend: metadata of the backend that ran the graphs.
        measured: when; None if not recorded.
        repeats: timed calls per exit.
        exits: one entry per exit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[2] = FORMAT_VERSION
    device: Annotated[str, Field(pattern=f"^{TAG}$")]
    machine: dict[str, Any]
    backend: dict[str, str]
    measured: AwareDatetime | None = None
    repeats: Annotated[int, Field(ge=1)]
    exits: Annotated[tuple[StopTimes, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _in_order(self) -> LatencyTable:
        if [times.exit for times in self.exits] != list(range(1, len(self.exits) + 1)):
            raise ValueError(f"exits are not numbered 1 to {len(self.exits)} in order")
        return self

    @property
    def costs(self) -> tuple[float, ...]:
        """Mean milliseconds of stopping at each exit, made to rise: `(K,)`.

        Noise can let a measured mean fall from one exit to the next, which no network's work does.
        """
        return tuple(np.maximum.accumulate([times.mean_ms for times in self.exits]).tolist())

    @property
    def segment_ms(self) -> tuple[float, ...]:
        """The 99th percentile of each segment, in milliseconds, `(K,)`."""
        return tuple(times.segment_p99_ms for times in self.exits)

    def differences(self, backend: Mapping[str, str]) -> list[str]:
        """How this machine and backend differ from those measured, such as `threads 1, here 4`; empty if they do not.

        Memory, power mode and clocks are compared where the table has them, which those of earlier versions have not.

        Args:
            backend: metadata of the backend in use here.
        """
        there = {**self._recorded, **self.backend}
        here = {**self._found, **backend}
        pairs = [(key, there.get(key, "unknown"), here.get(key, "unknown")) for key in {**there, **here}]
        found = [f"{shortened(key)} {shortened(was)}, here {is_now}" for key, was, is_now in pairs if was != is_now]
        return found or speed_differences(self.machine, read_speed_settings())

    def setting_differences(self) -> list[str]:
        """How power mode and clocks differ here from those measured; empty if not, or on another machine than that."""
        if self._recorded != self._found:
            return []
        return speed_differences(self.machine, read_speed_settings())

    @property
    def _recorded(self) -> dict[str, str]:
        found = {"processor": str(self.machine.get("processor"))}
        return {**found, **({"memory": f"{self.machine[_MEMORY]} GiB"} if _MEMORY in self.machine else {})}

    @property
    def _found(self) -> dict[str, str]:
        return {"processor": processor(), **({"memory": f"{memory_gib()} GiB"} if _MEMORY in self.machine else {})}

    def mean_ms(self, fractions: Sequence[float]) -> float:
        """Mean time per image when these fractions stop at each exit, `(K,)`."""
        return float(np.dot(fractions, [times.mean_ms for times in self.exits]))

    def p99_ms(self, fractions: Sequence[float]) -> float:
        """The 99th percentile over images when these fractions stop at each exit, `(K,)`: that of the mixture."""
        steps = np.diff(QUANTILES, prepend=0) / 100
        times = np.array([times.quantiles_ms for times in self.exits])
        weights = (np.asarray(fractions)[:, None] * steps).ravel()
        order = np.argsort(times.ravel(), kind="stable")
        reached = np.cumsum(weights[order])
        return float(times.ravel()[order][np.searchsorted(reached, 0.99 * reached[-1])])


def check_tag(device: str) -> None:
    """UsageError when `device` cannot be the name of a table's file."""
    if not re.fullmatch(TAG, device):
        raise UsageError(f"device {device!r}: name it in letters, digits, '.', '_' and '-', such as orin-nano")


def latency_path(device: str) -> str:
    """The path, in a bundle, of the table of a device."""
    return f"{LATENCY_FOLDER}/{device}.json"


def write_latency_table(bundle: Bundle, table: LatencyTable) -> str:
    """Write a table into the bundle's folder, replacing the device's last one; returns its path in the bundle.

    Raises:
        BundleError: a link is on the way there.
        BackendError: the bundle is signed, and what this machine wrote cannot be recorded.
    """
    relative = latency_path(table.device)
    content = (json.dumps(table.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    if bundle.folder.has(SIGNATURE_FILE):  # which this file is not part of
        Ledger.of_this_user().record(hashlib.sha256(content).hexdigest())
    files.write_bytes(bundle.place(relative), content)
    return relative


def measured_devices(bundle: Bundle) -> list[str]:
    """The tags of the devices with a table in the bundle, sorted. BundleError where its folder is a link."""
    names = bundle.folder.names(LATENCY_FOLDER)
    found = [name.removesuffix(".json") for name in names if name.endswith(".json")]
    return [tag for tag in found if re.fullmatch(TAG, tag)]


def read_latency_table(bundle: Bundle, device: str) -> LatencyTable:
    """The table of one device.

    Raises:
        UsageError: there is none.
        BundleError: it cannot be read, or is for another number of exits.
    """
    known = measured_devices(bundle)
    if device not in known:
        has = closest(device, known) if known else "none has been"
        raise UsageError(
            f"device {device!r}: not measured for {bundle.path}; {has}; "
            f"there: edgemate bench {bundle.path} --device {device}"
        )
    relative = latency_path(device)
    path, content = bundle.path / relative, bundle.folder.read(relative, MOST_BYTES)
    remedy = "run edgemate bench --device again"
    table = read_versioned(path, LatencyTable, FORMAT_VERSION, remedy=remedy, content=content)
    if table.device != device:
        raise BundleError(f"{path}: is of device {shortened(table.device)!r}; {remedy}")
    if len(table.exits) != len(bundle.manifest.exits):
        raise BundleError(
            f"{path}: is for {counted(len(table.exits), 'exit')}; the bundle has {len(bundle.manifest.exits)}"
        )
    return table


def matching_latency_table(
    bundle: Bundle, backend: Mapping[str, str], preferred: str | None = None
) -> LatencyTable | None:
    """A table measured on this processor with a backend of equal metadata; None if there is none.

    Tables that cannot be read are skipped: they may be of other devices.

    Args:
        bundle: the bundle.
        backend: metadata of the backend in use here.
        preferred: the device whose table is taken if several match; otherwise the newest is.
    """
    matching = []
    for device in measured_devices(bundle):
        try:
            table = read_latency_table(bundle, device)
        except BundleError:
            continue
        if not table.differences(backend):
            matching.append(table)
    return max(matching, key=lambda table: (table.device == preferred, _moment(bundle, table)), default=None)


def _moment(bundle: Bundle, table: LatencyTable) -> float:
    """When it was measured, in seconds since 1970; the file's modification time if not recorded."""
    if table.measured is not None:
        return table.measured.timestamp()
    return bundle.folder.modified(latency_path(table.device))
