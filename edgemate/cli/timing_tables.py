"""The tables of timings, and what the machine was like meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgemate.cli.console import print_table
from edgemate.cli.figures import engineering, milliseconds
from edgemate.wording import counted

if TYPE_CHECKING:
    from rich.console import Console

    from edgemate.profiling import Profile
    from edgemate.profiling.timings import Measurement, Timing
    from edgemate.sensors.reading import Reading

GRAPHS = {"prefix": "prefix", "segments": "segments up to it", "segment": "its segment alone"}


def print_timings(profile: Profile, console: Console) -> None:
    """Print every timing, grouped by library, batch size and exit."""
    from rich.table import Table

    measurement = profile.measurement
    energy = any(timing.energy is not None for timing in measurement.timings)
    table = Table(title="all timings, ms per batch", title_justify="left")
    for column in ("library", "batch", "exit", "graphs"):
        table.add_column(column)
    columns = ("p50", "p90", "p99", "min", "mean", "± 95 %", "p50 per image")
    for column in (*columns, *(["mJ per image"] if energy else [])):
        table.add_column(column, justify="right")
    seen: tuple[Any, ...] = ()
    for timing in sorted(measurement.timings, key=lambda one: _order(measurement, one)):
        case, latency = timing.case, timing.latency
        names = (case.library, str(case.batch), f"{case.exit} {profile.exits[case.exit - 1].name}")
        shown = ["" if seen[: i + 1] == names[: i + 1] else name for i, name in enumerate(names)]
        seen = names
        half = latency.mean_interval and latency.mean_interval[1] - latency.mean
        values = (latency.p50, latency.p90, latency.p99, latency.min, latency.mean, half, timing.ms_per_image)
        cells = ["–" if value is None else milliseconds(value) for value in values]
        if energy:
            cells.append("–" if timing.energy is None else f"{timing.energy.millijoules:.3g}")
        table.add_row(*shown, GRAPHS[case.graphs], *cells)
    print_table(table, console)


def print_conditions(profile: Profile, console: Console) -> None:
    """Print how long loading took, memory, energy, the state of the machine, and the warnings."""
    from edgemate.profiling.graph_calls import NO_ENGINES

    measurement = profile.measurement
    for one in measurement.loading:
        console.out(
            f"{one.library} {one.graphs}: loaded in {milliseconds(one.load_ms)} ms, "
            f"first call {milliseconds(one.first_call_ms)} ms"
        )
    console.out(f"peak memory: {_memory(measurement)}")
    for library, sensor in measurement.energy_sensor.items():
        console.out(f"energy, {library}: {_sensor(sensor)}")
    console.out(f"machine: {_machine(profile)}")
    for what, why in measurement.unavailable.items():
        if measurement.after.gpu.value is not None or why != NO_ENGINES:  # nobody expects TensorRT without a GPU
            console.out(f"not timed: {what}: {why}")
    for warning in measurement.warnings:
        console.out(f"warning: {warning}")


def _order(measurement: Measurement, timing: Timing) -> tuple[Any, ...]:
    libraries = list(dict.fromkeys(one.case.library for one in measurement.timings))
    case = timing.case
    return libraries.index(case.library), case.batch, case.exit, list(GRAPHS).index(case.graphs)


def _memory(measurement: Measurement) -> str:
    process, device = measurement.process_peak_bytes, measurement.device_peak_bytes
    texts = [
        f"{name} {engineering(found.value, 'B')}"
        for name, found in (("process", process), ("device", device))
        if found.value is not None
    ]
    return ", ".join(texts) or str(process.reason)


def _sensor(sensor: Reading) -> str:
    return f"{sensor.value['name']}, {sensor.value['scope']}" if sensor.value else str(sensor.reason)


def _machine(profile: Profile) -> str:
    measurement = profile.measurement
    now = measurement.after
    texts = [str(profile.machine["processor"]), counted(profile.threads, "thread")]
    clocks = now.clocks_mhz.value
    if clocks:
        limits = [f"{clocks[name]:.0f}" for name in ("min", "max") if clocks[name] is not None]
        allowed = f" (allowed {' to '.join(limits)})" if len(limits) == 2 else ""
        texts.append(f"clock {min(clocks['now']):.0f} to {max(clocks['now']):.0f} MHz{allowed}")
    if now.governors.value:
        texts.append(f"governor {', '.join(now.governors.value)}")
    if now.power_mode.value:
        texts.append(f"power mode {now.power_mode.value}")
    if now.temperatures_c.value:
        texts.append(f"at most {max(now.temperatures_c.value.values()):.0f} °C")
    if now.load_average.value:
        texts.append(f"load average {measurement.before.load_average.value[0]:.2f} → {now.load_average.value[0]:.2f}")
    if measurement.others_cores.value is not None:
        texts.append(f"other processes {measurement.others_cores.value:.2f} cores")
    return ", ".join(texts)
