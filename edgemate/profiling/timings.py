"""`Timing`: the latency of one graph or chain of graphs, and how the measurement went."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from edgemate.latency import Latency
from edgemate.latency_tables import StopTimes
from edgemate.sensors.conditions import Conditions
from edgemate.sensors.energy import EnergyPerImage
from edgemate.sensors.reading import Reading

Graphs = Literal["prefix", "segments", "segment", "stop"]
"""What is timed: the one graph of a prefix; segments 1 … k one after another; segment k alone, with its inputs ready;
and segments 1 … k with the decision after each, as a policy runs them."""


@dataclass(frozen=True)
class Case:
    """What one latency is of.

    Attributes:
        library: `pytorch-cpu`, `pytorch-cuda`, `onnxruntime`, `tensorrt` or `tensorrt_rtx`.
        graphs: see `Graphs`.
        exit: k, 1-based.
        batch: images at a time.
    """

    library: str
    graphs: Graphs
    exit: int
    batch: int

    def __str__(self) -> str:
        return f"{self.library} {self.graphs} of exit {self.exit} at batch {self.batch}"


@dataclass(frozen=True)
class Timing:
    """One latency.

    Attributes:
        case: what it is of.
        latency: of the whole batch.
        energy: per image; None if not measured or without a sensor.
    """

    case: Case
    latency: Latency
    energy: EnergyPerImage | None = None

    @property
    def ms_per_image(self) -> float:
        """The median divided by the batch size."""
        return self.latency.p50 / self.case.batch

    def to_json(self) -> dict[str, Any]:
        """One flat object of JSON values."""
        return {
            **asdict(self.case),
            "ms_per_image": self.ms_per_image,
            "latency": asdict(self.latency),
            "energy": None if self.energy is None else asdict(self.energy),
        }


@dataclass(frozen=True)
class Loading:
    """How long it takes until the first answer.

    Attributes:
        library: as in `Case`.
        graphs: `prefix` or `segments`.
        load_ms: reading the graphs.
        first_call_ms: the first answer at the last exit. A prefix in ONNX Runtime is read by its first call, so that
            this includes it.
        backend: what bears on its speed, such as the GPU and how its engines were built; see `Backend.metadata`.
    """

    library: str
    graphs: Graphs
    load_ms: float
    first_call_ms: float
    backend: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """All timings, and what the machine was like meanwhile.

    Attributes:
        timings: in the order that they are shown in.
        stop_times: library → one entry per exit: what a policy that stops there takes at batch 1.
        loading: one entry per library and layout.
        unavailable: library or layout → why it was not timed.
        warm_up_rounds: rounds before the timed ones.
        warm_up_stable: whether all times had settled then; None if that cannot be told.
        before: the machine at the start.
        after: the machine at the end.
        others_cores: cores that other processes used meanwhile.
        energy_sensor: library → name and scope of the sensor, or why there is none.
        process_peak_bytes: most memory of the process, from the start of the profile.
        device_peak_bytes: most memory of the GPU.
        warnings: sentences about what makes the times less certain.
    """

    timings: tuple[Timing, ...]
    stop_times: dict[str, tuple[StopTimes, ...]]
    loading: tuple[Loading, ...]
    unavailable: dict[str, str]
    warm_up_rounds: int
    warm_up_stable: bool | None
    before: Conditions
    after: Conditions
    others_cores: Reading
    energy_sensor: dict[str, Reading]
    process_peak_bytes: Reading
    device_peak_bytes: Reading
    warnings: tuple[str, ...]

    def latency(self, library: str, graphs: Graphs, exit: int, batch: int = 1) -> Latency | None:
        """The latency of one case; None if it was not timed."""
        case = Case(library, graphs, exit, batch)
        return next((timing.latency for timing in self.timings if timing.case == case), None)

    def to_json(self) -> dict[str, Any]:
        """The fields that `profile.json` has of it."""
        return {
            "timings": [timing.to_json() for timing in self.timings],
            "stop_times": {
                library: [one.model_dump(mode="json") for one in exits] for library, exits in self.stop_times.items()
            },
            "loading": [asdict(one) for one in self.loading],
            "unavailable": self.unavailable,
            "warm_up": {"rounds": self.warm_up_rounds, "stable": self.warm_up_stable},
            "conditions": {
                "before": self.before.to_json(),
                "after": self.after.to_json(),
                "others_cores": self.others_cores.to_json(),
            },
            "energy_sensor": {name: found.to_json() for name, found in self.energy_sensor.items()},
            "memory": {
                "process_peak_bytes": self.process_peak_bytes.to_json(),
                "device_peak_bytes": self.device_peak_bytes.to_json(),
            },
            "warnings": list(self.warnings),
        }
