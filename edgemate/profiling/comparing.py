"""Comparing two profiles: what got slower, larger or less accurate beyond the noise that both measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgemate.errors import UsageError
from edgemate.profiling.intervals import Interval, are_apart, wilson
from edgemate.profiling.scored_images import source_of
from edgemate.profiling.stored_profile import StoredLatency, StoredProfile
from edgemate.wording import shortened

TOLERANCE = 0.05
ACCURACY_TOLERANCE = 0.01
Verdict = Literal["slower", "larger", "less accurate", "better", "same"]

_NOTHING = 1e-9
"""What no clock or sensor tells from 0; a quotient by less may not be finite."""
_MOST = 20
"""Differences between two networks or devices that are told."""

SIZES = ("macs", "chained_macs", "parameters", "peak_activation_bytes", "prefix_bytes", "segments_bytes")


@dataclass(frozen=True)
class Difference:
    """One figure in both profiles.

    Attributes:
        figure: what it is, such as `onnxruntime segments p50, ms`.
        exit: k, 1-based.
        batch: images at a time; None where that does not matter.
        baseline: value of the earlier profile.
        value: value of the later one.
        change: relative, (value − baseline) / baseline; of an accuracy absolute.
        beyond_noise: whether their 95 % intervals do not overlap; counted figures have no noise.
        verdict: `same` unless the change is beyond both the noise and the tolerance.
    """

    figure: str
    exit: int
    batch: int | None
    baseline: float
    value: float
    change: float
    beyond_noise: bool
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """The comparison of a profile with an earlier one.

    Attributes:
        baseline: name of the earlier one.
        run: name of the later one.
        tolerance: relative, for times, sizes and energy.
        accuracy_tolerance: absolute, as a fraction.
        differences: one entry per figure that both have.
        notes: what differs between both profiles without being a figure.
    """

    baseline: str
    run: str
    tolerance: float
    accuracy_tolerance: float
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]

    @property
    def worse(self) -> tuple[Difference, ...]:
        """What got slower, larger or less accurate."""
        return tuple(one for one in self.differences if one.verdict in ("slower", "larger", "less accurate"))

    @property
    def better(self) -> tuple[Difference, ...]:
        """What got faster, smaller or more accurate, beyond the same limits."""
        return tuple(one for one in self.differences if one.verdict == "better")

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON values, with the number of what got worse."""
        return {**asdict(self), "worse": len(self.worse)}


def compare_profiles(
    profile: StoredProfile,
    baseline: StoredProfile,
    *,
    tolerance: float = TOLERANCE,
    accuracy_tolerance: float = ACCURACY_TOLERANCE,
    anyway: bool = False,
) -> Comparison:
    """Compare a profile with an earlier one of the same network on the same device.

    A median got slower if it rose by more than `tolerance` and the 95 % intervals of both medians do not overlap. An
    accuracy fell if it did so by more than `accuracy_tolerance` and the 95 % intervals of both (Wilson) do not overlap;
    on the same number of images of the same split, noise is not an excuse, since the images are the same: then the
    tolerance alone decides. Counted figures have no noise.

    Args:
        profile: the later one.
        baseline: the earlier one.
        tolerance: relative change of times, sizes and energy that is accepted.
        accuracy_tolerance: loss of accuracy that is accepted, as a fraction.
        anyway: compare another network or device too, as far as exits have the same number.

    Raises:
        UsageError: the network or the device is another one, or a tolerance is negative or not finite.
    """
    for name, value in (("tolerance", tolerance), ("accuracy_tolerance", accuracy_tolerance)):
        if not (math.isfinite(value) and value >= 0):
            raise UsageError(f"{name}: must be 0 or more, not {value}")
    others = check_same(profile.network, profile.device, baseline, anyway=anyway)
    differences = (
        *_times(profile, baseline, tolerance),
        *_sizes(profile, baseline, tolerance),
        *_accuracies(profile, baseline, accuracy_tolerance),
    )
    if not differences:
        raise UsageError("both profiles have no figure in common")
    return Comparison(
        baseline=baseline.run,
        run=profile.run,
        tolerance=tolerance,
        accuracy_tolerance=accuracy_tolerance,
        differences=differences,
        notes=(*others, *_notes(profile, baseline)),
    )


def check_same(
    network: Mapping[str, Any], device: Mapping[str, Any], baseline: StoredProfile, *, anyway: bool = False
) -> list[str]:
    """What differs between a network and device and those of a baseline, such as `threads 1 there, 2 here`.

    Args:
        network: see `Profile.network`.
        device: see `StoredProfile.device`.
        baseline: the earlier profile.
        anyway: return the differences instead of raising.

    Raises:
        UsageError: there are differences.
    """
    others = {
        "network": _differences(network, baseline.network),
        "device": _differences(device, baseline.device),
    }
    texts = [text for found in others.values() for text in found]
    if texts and not anyway:
        raise UsageError(
            f"the baseline is of another {' and '.join(kind for kind, found in others.items() if found)}: "
            f"{'; '.join(texts)}; profile the same, or ask to compare `anyway`"
        )
    return texts


def _differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    keys = dict.fromkeys((*there, *here))
    different = [key for key in keys if there.get(key) != here.get(key)]
    return [
        f"{shortened(key)} {_shown(there.get(key))} there, {_shown(here.get(key))} here" for key in different[:_MOST]
    ]


def _shown(value: Any) -> str:
    return shortened(str(value))


def _notes(profile: StoredProfile, baseline: StoredProfile) -> Iterator[str]:
    names = ("edgemate", "python", "onnxruntime", "torch", "tensorrt", "system")
    there, here = (
        {**{name: found.machine.get(name) for name in names}, "governors": found.conditions.before.governors.value}
        for found in (baseline, profile)
    )
    yield from _differences(here, there)
    yield from _built_differently(profile, baseline)
    if baseline.scored_on != profile.scored_on:
        yield (
            f"accuracies are of {baseline.images} images of {source_of(baseline.split, baseline.data)} there, of "
            f"{profile.images} of {source_of(profile.split, profile.data)} here"
        )
    for where, found in (("there", baseline), ("here", profile)):
        for warning in found.warnings:
            yield f"{where}: {warning}"


def _built_differently(profile: StoredProfile, baseline: StoredProfile) -> Iterator[str]:
    """Of each library that both timed, what bears on its speed; earlier versions did not write it down."""
    before = {(one.library, one.graphs): one.backend for one in baseline.loading}
    for one in profile.loading:
        there = before.get((one.library, one.graphs), {})
        if there and one.backend:
            # Its own version is among those of the machine, and the threads are the profile's.
            left_out = (one.library, "threads")
            here, there = ({key: found[key] for key in found if key not in left_out} for found in (one.backend, there))
            yield from (f"{one.library} {one.graphs}: {text}" for text in _differences(here, there))


def _times(profile: StoredProfile, baseline: StoredProfile, tolerance: float) -> Iterator[Difference]:
    before = {(one.library, one.graphs, one.exit, one.batch): one for one in baseline.timings}
    for timing in profile.timings:
        earlier = before.get((timing.library, timing.graphs, timing.exit, timing.batch))
        if earlier is None:
            continue
        name, where = f"{timing.library} {timing.graphs}", (timing.exit, timing.batch)
        intervals = _interval(earlier.latency), _interval(timing.latency)
        yield _difference(
            f"{name} p50, ms", where, earlier.latency.p50, timing.latency.p50, tolerance, "slower", intervals
        )
        if timing.energy is not None and earlier.energy is not None:
            values = earlier.energy.millijoules, timing.energy.millijoules
            # Energy follows time, whose relative noise is taken for it.
            noise = tuple(
                (value * low / latency.p50, value * high / latency.p50) if latency.p50 > _NOTHING else (value, value)
                for value, latency, (low, high) in zip(
                    values, (earlier.latency, timing.latency), intervals, strict=True
                )
            )
            yield _difference(f"{name} energy, mJ", where, *values, tolerance, "larger", (noise[0], noise[1]))


def _sizes(profile: StoredProfile, baseline: StoredProfile, tolerance: float) -> Iterator[Difference]:
    before = {exit.exit: exit for exit in baseline.exits}
    for exit in profile.exits:
        for name in SIZES if exit.exit in before else ():
            there, here = getattr(before[exit.exit], name), getattr(exit, name)
            if there is not None and here is not None:
                yield _difference(name.replace("_", " "), (exit.exit, None), there, here, tolerance, "larger", None)


def _accuracies(profile: StoredProfile, baseline: StoredProfile, tolerance: float) -> Iterator[Difference]:
    same_images = baseline.scored_on == profile.scored_on
    before = {exit.exit: exit for exit in baseline.exits}
    for exit in profile.exits:
        if exit.exit not in before:
            continue
        there, here = before[exit.exit].accuracy, exit.accuracy
        beyond = same_images or are_apart(wilson(there, baseline.images), wilson(here, profile.images))
        change = here - there
        verdict: Verdict = "same"
        if beyond and abs(change) > tolerance:
            verdict = "less accurate" if change < 0 else "better"
        yield Difference("accuracy", exit.exit, None, there, here, change, beyond, verdict)


def _difference(
    figure: str,
    where: tuple[int, int | None],
    there: float,
    here: float,
    tolerance: float,
    worse: Verdict,
    intervals: tuple[Interval, Interval] | None,
) -> Difference:
    change = (here - there) / abs(there) if abs(there) > _NOTHING else float(here > there)
    beyond = here != there if intervals is None else are_apart(*intervals)
    verdict: Verdict = "same"
    if beyond and abs(change) > tolerance:
        verdict = worse if change > 0 else "better"
    return Difference(figure, *where, there, here, change, beyond, verdict)


def _interval(latency: StoredLatency) -> Interval:
    """The 95 % interval of the median; the quartiles where only few calls were made."""
    if latency.p50_interval is not None:
        return latency.p50_interval
    return (
        latency.p50 if latency.p25 is None else latency.p25,
        latency.p50 if latency.p75 is None else latency.p75,
    )
