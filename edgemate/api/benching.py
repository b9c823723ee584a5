"""`bench`: how long every exit takes on this machine."""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from edgemate.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgemate.api.opening import BundleLike, PathLike
    from edgemate.bundle import Bundle
    from edgemate.bundle.manifest import Layout
    from edgemate.runtime import Latency

LAYOUTS: tuple[Layout, ...] = ("segments", "prefixes")
"""What is timed. The conditional graph stops where the image lets it, so it has no time per exit."""


@dataclass(frozen=True)
class ExitTimes:
    """One exit's latency in ms.

    Attributes:
        exit: k, 1-based.
        name: of its cut point.
        macs: MACs of its prefix.
        chained_macs: MACs of segments 1 … k.
        segments: of segments 1 … k, one after another; None if the bundle has no segments.
        prefix: of the one graph; None if the bundle has no prefixes.
        segments_over_prefix: ratio of the medians; None without both.
        network_ms: median of one image of the batch, by segments if the bundle has them.
        total_ms: the same from the image file to the answer, with decoding and preparing.
        speedup: how many times as long the whole network takes: as one graph, or without prefixes all its segments.
        total_speedup: the same with decoding and preparing, which early exit does not shorten.
    """

    exit: int
    name: str
    macs: int
    chained_macs: int
    segments: Latency | None
    prefix: Latency | None
    segments_over_prefix: float | None
    network_ms: float
    total_ms: float
    speedup: float
    total_speedup: float


@dataclass(frozen=True)
class InputTimes:
    """What one image takes before the network, in ms.

    Attributes:
        image: which one.
        decode: reading and decoding the file.
        prepare: resize, crop and, unless the graphs do it, normalization.
    """

    image: str
    decode: Latency
    prepare: Latency

    @property
    def ms(self) -> float:
        """Median of decoding, and of preparing."""
        return self.decode.p50 + self.prepare.p50

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class BenchReport:
    """The latency of every exit on this machine.

    Attributes:
        bundle: its name.
        machine: metadata of this machine, with the power mode and the clocks that it is set to where it says so.
        backend: metadata of the backend.
        batch: images at a time.
        warmup: rounds that were not counted.
        input: what an image takes before the network.
        exits: one entry per exit.
        not_monotone: `segments` and `prefix`, as far as they were timed → exits whose median is above that of a later
            one, as on a busy machine.
        latency_table: file of the bundle that holds the device's latency table; None where none was asked for.
        conditions: `before` and `after` the times: clocks, load, temperatures, throttling and power mode, each a
            `value` or the `reason` why there is none.
        power: `value` has the sensor's name, what it measures, `idle_watts`, `busy_watts` while the whole network runs
            over and over, and `millijoules` per image; or the `reason` why there is none.
        warnings: a sentence for what makes the times doubtful, such as throttling.
    """

    bundle: str
    machine: dict[str, Any]
    backend: dict[str, str]
    batch: int
    warmup: int
    input: InputTimes
    exits: tuple[ExitTimes, ...]
    not_monotone: dict[str, list[int]]
    latency_table: str | None = None
    conditions: dict[str, dict[str, Any]] = field(default_factory=dict)
    power: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values; times in ms."""
        report = {
            "bundle": self.bundle,
            "machine": self.machine,
            "backend": self.backend,
            "batch": self.batch,
            "warmup": self.warmup,
            "unit": "ms",
            "input": self.input.to_json(),
            "exits": [asdict(exit) for exit in self.exits],
            "not_monotone": self.not_monotone,
            "conditions": self.conditions,
            "power": self.power,
            "warnings": list(self.warnings),
        }
        return report if self.latency_table is None else {**report, "latency_table": self.latency_table}


def bench(
    bundle: BundleLike,
    *,
    repeats: int = 200,
    warmup: int = 20,
    batch: int = 1,
    layouts: Sequence[Layout] | None = None,
    backend: str = "onnxruntime",
    threads: int | None = None,
    device: str | None = None,
    image: PathLike | None = None,
    trusted_keys: PathLike | None = None,
    trust_engines: bool = False,
    progress: Progress = SILENT,
) -> BenchReport:
    """Measure the latency of every exit on the bundle's golden images.

    Each exit is timed as the segments up to it, which is what anytime use runs, and as its prefix, one graph; both in
    turn within each round. Decoding and preparing an image is timed apart, and in the totals.

    Args:
        bundle: a bundle's folder, whose hashes are checked, or a Bundle.
        repeats: rounds that are timed.
        warmup: rounds before these that are not.
        batch: images at a time.
        layouts: `segments`, `prefixes` or both; None: those of the two that the bundle has.
        backend: what runs the graphs.
        threads: CPU threads; all usable cores if None. TensorRT has no use for them.
        device: store the times in the bundle as the latency table of a device of this name.
        image: the image file that is decoded and prepared; if None, a JPEG of 1920×1080, or of the only size
            that the bundle takes, tiled with the golden samples.
        trusted_keys: a file or folder of public keys; the bundle must be signed by one of them.
        trust_engines: run the bundle's engines whoever built them.
        progress: receives how many rounds are done.

    Returns:
        Times per exit in ms.

    Raises:
        BundleError: the bundle cannot be used, has no graphs of a layout that is to be timed, or with `device` another
            process writes into it.
        BackendError: the backend is not installed or cannot run this bundle.
        ImageError: `image` cannot be read.
        UsageError: a name of a device that cannot be used, or one with another batch than 1 or without segments; a
            layout that is not timed; a batch beyond what the engines take.

    Example:
        >>> report = edgemate.bench("bundles/digits", repeats=20, threads=1)
        >>> [exit.segments.p50 for exit in report.exits]  # doctest: +SKIP
        [0.071, 0.098, 0.127]
    """
    import numpy as np

    from edgemate.api.opening import open_bundle
    from edgemate.api.options import check_batch
    from edgemate.bundle import writing_bundle
    from edgemate.errors import UsageError
    from edgemate.latency_tables import check_tag, latency_path, write_latency_table
    from edgemate.limits import BATCH
    from edgemate.machine import machine_metadata
    from edgemate.runtime import AnytimeClassifier, measure_exits, measure_input, measure_stops, slower_than_later
    from edgemate.runtime.power import measure_power
    from edgemate.sensors.conditions import Conditions, throttling_warning
    from edgemate.sensors.nvml import Nvml
    from edgemate.sensors.speed import read_speed_settings

    # What is wrong and needs no backend to be found comes first: importing it takes time.
    opened = open_bundle(bundle, trusted_keys=trusted_keys, trust_engines=trust_engines)
    if device is not None:
        check_tag(device)
        opened.place(latency_path(device))  # a link is found before minutes of measuring
        if batch != 1:
            raise UsageError(f"device: a latency table is of one image at a time, not of batch {batch}")
    if not 1 <= batch <= BATCH.most:
        raise UsageError(f"batch: must be from 1 to {BATCH.most:,}, not {batch}")
    for name, number, least in (("repeats", repeats, 1), ("warmup", warmup, 0)):
        if number < least:
            raise UsageError(f"{name}: must be {least} or more, not {number}")
    timed = _timed_layouts(opened, layouts)
    if device is not None and "segments" not in timed:
        raise UsageError(f"device: a latency table is measured on segments, and only {' and '.join(timed)} are timed")
    table = None
    with (
        # From the start: the times must be of the graphs that are in the bundle when they are written.
        contextlib.nullcontext() if device is None else writing_bundle(opened.path),
        contextlib.ExitStack() as stack,
    ):
        segments, prefixes = (
            stack.enter_context(AnytimeClassifier.load(opened, backend, threads=threads, layout=layout))
            if layout in timed
            else None
            for layout in LAYOUTS
        )
        classifier = segments or prefixes
        assert classifier is not None
        for loaded in (segments, prefixes):
            if loaded is not None:
                check_batch(batch, loaded)
        golden = classifier.bundle.golden().images
        progress.step("timing what comes before the network")
        before = InputTimes(*measure_input(classifier, None if image is None else os.fspath(image), repeats=repeats))
        images = np.resize(golden, (batch, *golden.shape[1:]))
        gpu = Nvml.open()
        conditions = Conditions.now(gpu)
        progress.step("timing every exit, round")
        measured = measure_exits(segments, prefixes, images, warmup=warmup, repeats=repeats, progress=progress)
        if device is not None and segments is not None:
            progress.step("timing stops at every exit, round")
            found = measure_stops(segments, golden, device=device, warmup=warmup, repeats=repeats, progress=progress)
            table = write_latency_table(segments.bundle, found)
        after = Conditions.now(gpu)
        power = measure_power(classifier, images, gpu=gpu, progress=progress)
        metadata = classifier.backend.metadata()
    throttled = throttling_warning(conditions, after)
    whole = (measured[-1].prefix or measured[-1].answer).p50
    return BenchReport(
        bundle=opened.manifest.name,
        machine={**machine_metadata(()), **read_speed_settings()},
        backend=metadata,
        batch=batch,
        warmup=warmup,
        input=before,
        exits=tuple(
            ExitTimes(
                exit=exit.exit,
                name=exit.name,
                macs=exit.macs,
                chained_macs=exit.chained_macs,
                segments=latency.segments,
                prefix=latency.prefix,
                segments_over_prefix=latency.ratio,
                network_ms=latency.answer.p50 / batch,
                total_ms=before.ms + latency.answer.p50 / batch,
                speedup=whole / latency.answer.p50,
                total_speedup=(before.ms + whole / batch) / (before.ms + latency.answer.p50 / batch),
            )
            for exit, latency in zip(opened.manifest.exits, measured, strict=True)
        ),
        not_monotone={
            name: slower_than_later([times.p50 for times in column])
            for name, column in (
                ("segments", [latency.segments for latency in measured if latency.segments is not None]),
                ("prefix", [latency.prefix for latency in measured if latency.prefix is not None]),
            )
            if column
        },
        latency_table=table,
        conditions={"before": conditions.to_json(), "after": after.to_json()},
        power=power.to_json(),
        warnings=() if throttled is None else (throttled,),
    )


def _timed_layouts(bundle: Bundle, asked: Sequence[Layout] | None) -> tuple[Layout, ...]:
    from edgemate.api.options import check_layouts
    from edgemate.errors import BundleError, UsageError

    there = bundle.manifest.graphs
    if asked is None:
        found = tuple(layout for layout in LAYOUTS if layout in there)
        if not found:
            raise BundleError(
                f"{bundle.path}: has neither segments nor prefixes, only {' and '.join(there)}; export the run with "
                "one of these"
            )
        return found
    for layout in check_layouts(asked):
        if layout not in LAYOUTS:
            raise UsageError(f"layouts: only {' and '.join(LAYOUTS)} are timed, not {layout!r}")
        if layout not in there:
            raise BundleError(f"{bundle.path}: has no {layout}, only {' and '.join(there)}")
    return tuple(layout for layout in LAYOUTS if layout in asked)
