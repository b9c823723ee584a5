from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemate.core.layer_work import LayerWork
from edgemate.profiling.counts import estimate_floors
from edgemate.profiling.device_spec import DeviceSpec
from edgemate.profiling.roofline import latency_floor


def device(peak: float, bandwidth: float, on_chip: float | None = None) -> DeviceSpec:
    def figure(value: float) -> dict[str, object]:
        return {"value": value, "source": "test"}

    return DeviceSpec.model_validate(
        {
            "name": "board",
            "peak_flops": {"fp32": figure(peak), "int8": figure(4 * peak)},
            "memory_bandwidth": figure(bandwidth),
            "on_chip_bytes": None if on_chip is None else figure(on_chip),
        }
    )


def layer(
    macs: int = 0, weights: int = 0, read: int = 0, written: int = 0, reread: int = 0, exit: int = 1
) -> LayerWork:
    return LayerWork(
        *("layer", "Conv2d", exit, "stage", (1,), macs, weights),
        weights=weights,
        input_values=read,
        reread_values=reread,
        output_values=written,
    )


LAYERS = st.lists(
    st.builds(
        lambda macs, weights, read, written, part, exit: layer(macs, weights, read, written, read * part // 4, exit),
        *(st.integers(0, 10**6) for _ in range(4)),
        st.integers(0, 4),
        st.integers(1, 3),
    ),
    max_size=6,
)
AMOUNTS = st.floats(1, 1e9)


def test_by_hand() -> None:
    """100 MACs at 100 FLOP/s take 2 s; 50 values of 4 bytes at 100 bytes/s take 2 s, and 100 take 4 s."""
    board = device(100, 100)
    bound_by_compute = layer(macs=100, weights=10, read=10, written=10)
    bound_by_memory = layer(macs=1, weights=50, read=25, written=25)
    assert latency_floor([bound_by_compute], board, "fp32").ms == 2000
    assert latency_floor([bound_by_memory], board, "fp32").ms == 4000
    both = latency_floor([bound_by_compute, bound_by_memory], board, "fp32")
    assert (both.ms, both.compute_ms, both.bound) == (6000, 2020, "memory")
    assert latency_floor([bound_by_memory], board, "int8").ms == 1000
    assert latency_floor([layer(read=50, written=50)], board, "fp32").ms == 0  # no MACs: fused


def test_what_an_earlier_layer_has_read_is_free() -> None:
    assert latency_floor([layer(1, 0, 100, 0, reread=100)], device(1e6, 100), "fp32").ms == pytest.approx(0.002)


def test_what_fits_on_the_chip_does_not_come_from_memory() -> None:
    small = [layer(macs=100, weights=50, read=25, written=25), layer(macs=100, weights=50, read=25, written=25)]
    assert latency_floor(small, device(100, 100, 400), "fp32").ms == 4000  # only arithmetic remains
    large = [layer(macs=100, weights=1000, read=25, written=125)]
    # Weights of 4000 bytes less the 400 that stay, and the 100 bytes by which the output exceeds the chip.
    assert latency_floor(large, device(100, 100, 400), "fp32").ms == pytest.approx(1e3 * (4000 - 400 + 100) / 100)


@given(LAYERS, AMOUNTS, AMOUNTS, st.one_of(st.none(), AMOUNTS))
def test_a_floor_is_never_above_the_plain_sum_nor_below_arithmetic(
    layers: list[LayerWork], peak: float, bandwidth: float, on_chip: float | None
) -> None:
    floor = latency_floor(layers, device(peak, bandwidth, on_chip), "fp32").ms
    arithmetic = sum(2e3 * one.macs / peak for one in layers)
    moved = sum(1e3 * (one.weight_bytes("fp32") + one.activation_bytes()) / bandwidth for one in layers)
    assert arithmetic * (1 - 1e-9) <= floor <= (arithmetic + moved) * (1 + 1e-9)


@given(LAYERS, AMOUNTS, AMOUNTS, AMOUNTS)
def test_a_better_device_has_no_higher_floor_and_more_layers_no_lower_one(
    layers: list[LayerWork], peak: float, bandwidth: float, on_chip: float
) -> None:
    def floor(some: list[LayerWork], *figures: float) -> float:
        return latency_floor(some, device(*figures), "fp32").ms

    here = floor(layers, peak, bandwidth, on_chip)
    slack = 1 + 1e-9
    assert floor(layers, 2 * peak, bandwidth, on_chip) <= here * slack
    assert floor(layers, peak, 2 * bandwidth, on_chip) <= here * slack
    assert floor(layers, peak, bandwidth, 2 * on_chip) <= here * slack
    assert here <= floor(layers, peak, bandwidth) * slack
    for shorter, longer in itertools.pairwise(range(len(layers) + 1)):
        assert (
            floor(layers[:shorter], peak, bandwidth, on_chip)
            <= floor(layers[:longer], peak, bandwidth, on_chip) * slack
        )


@given(LAYERS, AMOUNTS, AMOUNTS)
def test_estimates_of_segments_grow_and_are_marked(layers: list[LayerWork], peak: float, bandwidth: float) -> None:
    ordered = sorted(layers, key=lambda one: one.exit)
    prefixes = [[one for one in ordered if one.exit <= exit] for exit in (1, 2, 3)]
    found = estimate_floors(prefixes, ordered, [device(peak, bandwidth)])
    assert all(one.estimate is True for one in found)
    assert {one.precision for one in found} == {"fp32", "int8"}  # no peak is known for fp16
    for precision in ("fp32", "int8"):
        chain = [one.floor_ms for one in found if one.scope == "segments" and one.precision == precision]
        alone = [one.floor_ms for one in found if one.scope == "segment" and one.precision == precision]
        assert chain == sorted(chain)
        assert chain[-1] == pytest.approx(sum(alone))
