"""A floor under the latency of layers on a device, from its data sheet (Williams et al. 2009, the roofline model).

One layer takes at least max(FLOPs / peak, bytes / bandwidth), where bytes are its weights and the activations that it
reads and writes, each once. The floor of several layers is the sum of that. It is optimistic wherever it can be:
operators without MACs and launches cost nothing, nothing waits, and what another layer of the segment has read already
is free, as runtimes merge such layers.

What fits on the chip need not come from memory. Our addition, which keeps the sum a floor for small networks: with
on-chip memory of C bytes, only what exceeds C of an activation counts, and C bytes of weights may stay from one image
to the next, wherever they save most. That saves at most C / bandwidth in all, and never time of arithmetic:

    floor = max(Σ FLOPs / peak, Σ max(FLOPs / peak, bytes / bandwidth) − C / bandwidth)

Layers are assumed to run one after another and to do all their multiplications. Fast convolution (Winograd) does
fewer, and structured sparsity skips some: see docs/counts.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgemate.core.layer_work import VALUE_BYTES, LayerWork, Precision
from edgemate.profiling.device_spec import DeviceSpec


@dataclass(frozen=True)
class Floor:
    """The least time that layers can take on a device, estimated.

    Attributes:
        ms: the floor, milliseconds for one image.
        compute_ms: the part of it that arithmetic alone needs.
        bound: what it is bound by, `compute` or `memory`.
    """

    ms: float
    compute_ms: float
    bound: str


def latency_floor(layers: Iterable[LayerWork], device: DeviceSpec, precision: Precision) -> Floor:
    """The floor of some layers for one image.

    Args:
        layers: those that run, one after another.
        device: its specification.
        precision: of weights and activations; the device must have a peak for it.

    Raises:
        KeyError: the device has no peak for that precision.
    """
    peak, bandwidth = device.peak_flops[precision].value, device.memory_bandwidth.value
    on_chip = 0.0 if device.on_chip_bytes is None else device.on_chip_bytes.value
    compute = total = 0.0
    for layer in layers:
        if layer.macs == 0:
            continue
        arithmetic = 2 * layer.macs / peak
        size = VALUE_BYTES[precision]
        read = max(0.0, size * (layer.input_values - layer.reread_values) - on_chip)
        written = max(0.0, size * layer.output_values - on_chip)
        compute += arithmetic
        total += max(arithmetic, (layer.weight_bytes(precision) + read + written) / bandwidth)
    floor = max(compute, total - on_chip / bandwidth)
    return Floor(ms=1e3 * floor, compute_ms=1e3 * compute, bound="compute" if floor <= 1.5 * compute else "memory")
