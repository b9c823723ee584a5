"""The counted part of a profile: bytes per exit and segment, layers, uncounted operators, estimated latency floors."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edgemate import files
from edgemate.core.layer_work import PRECISIONS, LayerWork, Precision, weight_bytes
from edgemate.profiling.device_spec import DeviceSpec
from edgemate.profiling.roofline import latency_floor

LAYERS_FILE, ROOFLINE_FILE = "layers.csv", "roofline.csv"

Scope = Literal["prefix", "segment", "segments"]
"""Exit k as one graph; segment k alone; segments 1 … k."""


@dataclass(frozen=True)
class Count:
    """What an exit's prefix or a segment computes and moves, for one image.

    Attributes:
        exit: k, 1-based.
        scope: prefix, or segment.
        macs: MACs.
        flops: 2 × macs.
        parameters: parameters, as in PyTorch, of the layers that run. In multi-scale networks a prefix does not run
            all of its modules.
        activation_bytes: float32 bytes that its layers with MACs read and write; other operators are taken as fused.
        peak_activation_bytes: most float32 bytes of activations alive at once.
        weight_bytes: precision → bytes of constants as exported, with BatchNorm folded into convolutions.
    """

    exit: int
    scope: Scope
    macs: int
    flops: int
    parameters: int
    activation_bytes: int
    peak_activation_bytes: int
    weight_bytes: dict[str, int]

    @classmethod
    def of(cls, exit: int, scope: Scope, layers: Sequence[LayerWork], peak: int) -> Count:
        """The sums over some layers; `peak` in bytes."""
        macs = sum(layer.macs for layer in layers)
        return cls(
            exit=exit,
            scope=scope,
            macs=macs,
            flops=2 * macs,
            parameters=sum(layer.parameters for layer in layers),
            activation_bytes=sum(layer.activation_bytes() for layer in layers),
            peak_activation_bytes=peak,
            weight_bytes=weight_bytes(layers),
        )


@dataclass(frozen=True)
class Estimate:
    """An estimated floor under a latency at batch 1: not measured, and the device is not here.

    Attributes:
        device: name of the device.
        precision: of weights and activations.
        scope: what runs.
        exit: k, 1-based.
        floor_ms: no implementation that does all multiplications can take less, milliseconds.
        bound: compute or memory.
        estimate: always true.
    """

    device: str
    precision: Precision
    scope: Scope
    exit: int
    floor_ms: float
    bound: str
    estimate: Literal[True] = True


@dataclass(frozen=True)
class Counts:
    """All that is counted, and what is estimated from it.

    Attributes:
        exits: one entry per exit, of its prefix.
        segments: one entry per segment.
        layers: all layers in the order in which they run.
        uncounted: operators without MACs: operator, times, kind, reason.
        devices: the specifications that the estimates are from, with their sources.
        estimates: floors of every exit on these devices.
        list_layers: the layers were asked for, so they are printed and stored.
    """

    exits: tuple[Count, ...]
    segments: tuple[Count, ...]
    layers: tuple[LayerWork, ...]
    uncounted: tuple[Mapping[str, Any], ...]
    devices: tuple[DeviceSpec, ...] = ()
    estimates: tuple[Estimate, ...] = ()
    list_layers: bool = False

    def to_json(self) -> dict[str, Any]:
        """The counts as JSON values, with the layers if they were asked for."""
        return {
            "exits": [asdict(count) for count in self.exits],
            "segments": [asdict(count) for count in self.segments],
            **({"layers": layer_rows(self.layers)} if self.list_layers else {}),
            "uncounted": [dict(one) for one in self.uncounted],
            "devices": [device.model_dump(mode="json") for device in self.devices],
            "estimates": [asdict(estimate) for estimate in self.estimates],
        }


def write_counts(counts: Counts, folder: Path) -> list[Path]:
    """Write `layers.csv` if the layers were asked for, and `roofline.csv` if there are estimates; their paths."""
    texts = {
        **({LAYERS_FILE: layers_csv(counts.layers)} if counts.list_layers else {}),
        **({ROOFLINE_FILE: estimates_csv(counts.estimates)} if counts.estimates else {}),
    }
    for name, text in texts.items():
        files.write_text(folder / name, text)
    return [folder / name for name in texts]


def estimate_floors(
    prefixes: Sequence[Sequence[LayerWork]], layers: Sequence[LayerWork], devices: Iterable[DeviceSpec]
) -> tuple[Estimate, ...]:
    """The floors of every prefix, segment and chain of segments, in every precision that a device has a peak for.

    Args:
        prefixes: per exit the layers of its prefix.
        layers: all layers of all segments.
        devices: the devices.
    """
    found: list[Estimate] = []
    for device in devices:
        for precision in PRECISIONS:
            if precision not in device.peak_flops:
                continue
            for exit, prefix in enumerate(prefixes, 1):
                scopes: dict[Scope, Sequence[LayerWork]] = {
                    "prefix": prefix,
                    "segment": [layer for layer in layers if layer.exit == exit],
                    "segments": [layer for layer in layers if layer.exit <= exit],
                }
                for scope, some in scopes.items():
                    floor = latency_floor(some, device, precision)
                    found.append(Estimate(device.name, precision, scope, exit, floor.ms, floor.bound))
    return tuple(found)


def layer_rows(layers: Sequence[LayerWork]) -> list[dict[str, Any]]:
    """One row per layer, as in `layers.csv`; `share` is of all MACs, in [0, 1]."""
    total = sum(layer.macs for layer in layers) or 1
    return [
        {
            "path": layer.path,
            "type": layer.type,
            "exit": layer.exit,
            "part": layer.part,
            "output_shape": list(layer.output_shape),
            "macs": layer.macs,
            "flops": 2 * layer.macs,
            "share": layer.macs / total,
            "parameters": layer.parameters,
            "activation_bytes": layer.activation_bytes(),
            **{f"weight_bytes_{precision}": layer.weight_bytes(precision) for precision in PRECISIONS},
        }
        for layer in layers
    ]


def layers_csv(layers: Sequence[LayerWork]) -> str:
    """The layers as CSV, a header first; shapes as `64×32×32`."""
    rows = layer_rows(layers)
    return _csv([{**row, "output_shape": "×".join(map(str, row["output_shape"]))} for row in rows])


def estimates_csv(estimates: Sequence[Estimate]) -> str:
    """The estimates as CSV, a header first; the floor is in the column `estimated_floor_ms`."""
    rows = [asdict(estimate) for estimate in estimates]
    return _csv([{("estimated_floor_ms" if key == "floor_ms" else key): row[key] for key in row} for row in rows])


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
