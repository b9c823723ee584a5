"""`measure_cases`: time all cases in turns, with what the machine was like meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgemate.latency import Latency
from edgemate.latency_tables import QUANTILES, StopTimes
from edgemate.profiling.graph_calls import Calls
from edgemate.profiling.spread import spread_warning, warm_up_warning
from edgemate.profiling.timings import Case, Loading, Measurement, Timing
from edgemate.progress import SILENT, Progress
from edgemate.sensors.conditions import Conditions, throttling_warning
from edgemate.sensors.energy import EnergyPerImage, EnergySensor, Part, find_energy_sensor, measure_energy
from edgemate.sensors.energy.per_image import idle_watts
from edgemate.sensors.load import others_cores, others_warning, read_cpu_times
from edgemate.sensors.memory import read_peak_memory
from edgemate.sensors.nvml import Nvml
from edgemate.sensors.reading import Reading
from edgemate.timing import time_blocks, warm_up

CASE_SECONDS = 4.0
"""Slow cases are timed for about so long, and at least `MIN_REPEATS` times, instead of for all repeats."""
MIN_REPEATS = 10
ENERGY_SECONDS = 0.5


def measure_cases(
    calls: Calls,
    *,
    repeats: int,
    loading: Sequence[Loading] = (),
    unavailable: Mapping[str, str] | None = None,
    device_peak: Callable[[], Reading | None] = lambda: None,
    progress: Progress = SILENT,
) -> Measurement:
    """Warm all calls up until they are stable, time them in blocks that take turns, then measure their energy.

    Args:
        calls: case → call.
        repeats: timed calls per case; slow ones have fewer, see `CASE_SECONDS`.
        loading: how long the libraries took to load.
        unavailable: what cannot be timed, and why.
        device_peak: asked at the end for the most memory of a GPU; where it is None, NVML is asked what is in use then,
            which is the peak of libraries that keep what they have allocated.
        progress: receives the steps and how far each is.
    """
    gpu = Nvml.open()
    before, times_before = Conditions.now(gpu), read_cpu_times()
    progress.step(f"warming up {len(calls)} timings, round")
    warm = warm_up(calls, progress=progress)
    progress.step(f"timing {len(calls)} graphs in turn, block")
    samples = time_blocks(
        calls,
        repeats={case: _repeats(repeats, warm.medians[case]) for case in calls},
        random=np.random.default_rng(0),
        progress=progress,
    )
    times_after, after = read_cpu_times(), Conditions.now(gpu)
    energy, sensors = _energy(calls, gpu, progress)
    timings = tuple(Timing(case, Latency.of_blocks(samples[case]), energy.get(case)) for case in calls)
    shown = tuple(timing for timing in timings if timing.case.graphs != "stop")
    others = others_cores(times_before, times_after)
    warnings = (
        spread_warning(shown),
        others_warning(others, 1 if times_after is None else times_after.cores),
        throttling_warning(before, after),
        warm_up_warning(warm.rounds, warm.stable),
    )
    return Measurement(
        timings=shown,
        stop_times=_stop_times(samples, timings),
        loading=tuple(loading),
        unavailable=dict(unavailable or {}),
        warm_up_rounds=warm.rounds,
        warm_up_stable=warm.stable,
        before=before,
        after=after,
        others_cores=others,
        energy_sensor=sensors,
        process_peak_bytes=read_peak_memory(),
        device_peak_bytes=device_peak() or _device_memory(gpu),
        warnings=tuple(warning for warning in warnings if warning is not None),
    )


def part_of(library: str) -> Part:
    """What does the work of a library."""
    return "gpu" if library in ("pytorch-cuda", "tensorrt", "tensorrt_rtx") else "cpu"


def _stop_times(samples: Mapping[Case, Sequence[Sequence[float]]], timings: Sequence[Timing]) -> tuple[StopTimes, ...]:
    """The times to stop at each exit in ONNX Runtime at batch 1."""
    segment_p99 = {timing.case: timing.latency.p99 for timing in timings if timing.case.graphs == "segment"}
    found = []
    for case, blocks in samples.items():
        if (case.library, case.graphs) == ("onnxruntime", "stop"):
            times = np.concatenate(blocks)
            found.append(
                StopTimes(
                    exit=case.exit,
                    mean_ms=float(times.mean()),
                    quantiles_ms=tuple(np.percentile(times, QUANTILES).tolist()),
                    segment_p99_ms=segment_p99[Case(case.library, "segment", case.exit, case.batch)],
                )
            )
    return tuple(found)


def _repeats(repeats: int, milliseconds: float) -> int:
    affordable = int(1e3 * CASE_SECONDS / max(milliseconds, 1e-6))
    return min(repeats, max(affordable, MIN_REPEATS))


def _energy(
    calls: Calls, gpu: Nvml | None, progress: Progress
) -> tuple[dict[Case, EnergyPerImage], dict[str, Reading]]:
    """The energy of every prefix and chain of segments, and the sensor or the reason for each library."""
    found: dict[Case, EnergyPerImage] = {}
    described: dict[str, Reading] = {}
    for library in dict.fromkeys(case.library for case in calls):
        sensor = find_energy_sensor(part_of(library), gpu=gpu)
        if not isinstance(sensor, EnergySensor):
            described[library] = sensor
            continue
        described[library] = Reading({"name": sensor.name, "scope": sensor.scope})
        cases = [case for case in calls if case.library == library and case.graphs in ("prefix", "segments")]
        progress.step(f"measuring energy by {sensor.name}, graph")
        try:
            idle = idle_watts(sensor)
            for done, case in enumerate(cases):
                progress.advance(done, len(cases))
                found[case] = measure_energy(sensor, calls[case], case.batch, idle=idle, seconds=ENERGY_SECONDS)
        except OSError as error:
            described[library] = Reading.missing(str(error))
    return found, described


def _device_memory(gpu: Nvml | None) -> Reading:
    if gpu is None:
        return Reading.missing("NVML finds no NVIDIA GPU here")
    used = gpu.used_bytes
    if used is None:
        return Reading.missing("NVML does not report the memory of this GPU")
    return Reading(used)
