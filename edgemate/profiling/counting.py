"""`count_model`: the counted part of a profile, from a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from edgemate.models import MultiExitModel
from edgemate.models.layers import count_layers
from edgemate.profiling.counts import Count, Counts, estimate_floors
from edgemate.profiling.device_spec import DeviceSpec


def count_model(
    model: MultiExitModel,
    image_shape: Sequence[int],
    devices: Sequence[DeviceSpec] = (),
    *,
    list_layers: bool = False,
) -> Counts:
    """Count a network for one image.

    Args:
        model: the network.
        image_shape: (C, H, W).
        devices: devices to estimate the latency floors of.
        list_layers: whether layers are printed and stored.
    """
    counted = count_layers(model, image_shape)
    exits = range(1, model.exits + 1)
    prefixes = [counted.prefix(exit) for exit in exits]
    return Counts(
        exits=tuple(
            Count.of(exit, "prefix", prefix, peak)
            for exit, prefix, peak in zip(exits, prefixes, counted.prefix_peaks, strict=True)
        ),
        segments=tuple(
            Count.of(exit, "segment", counted.segment(exit), peak)
            for exit, peak in zip(exits, counted.segment_peaks, strict=True)
        ),
        layers=counted.layers,
        uncounted=tuple(asdict(operator) for operator in counted.uncounted),
        devices=tuple(devices),
        estimates=estimate_floors(prefixes, counted.layers, devices),
        list_layers=list_layers,
    )
