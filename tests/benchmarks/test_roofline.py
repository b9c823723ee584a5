"""Floors beside measured latencies: a small version of benchmarks/roofline.py."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from scripts import BENCHMARKS

from edgemate.bundle import Bundle

GENEROUS = 2.0
"""How many times what was measured is taken for the peak: a busy machine hides its own."""


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("roofline")


@pytest.mark.parametrize("name", ["resnet8", pytest.param("timm/mobilenetv3_small_100", marks=pytest.mark.slow)])
def test_no_floor_is_above_the_measured_median(script: ModuleType, name: str, tmp_path: Path) -> None:
    peak = script.measure_peak(1, seconds=0.02)
    generous = dataclasses.replace(
        peak,
        gflops={way: GENEROUS * value for way, value in peak.gflops.items()},
        bandwidth={size: GENEROUS * value for size, value in peak.bandwidth.items()},
    )
    side, layers = script._write(tmp_path / "bundle", name)
    times = script._measure(Bundle.open(tmp_path / "bundle"), side, [1], 5)
    rows = script.compare(name, 1, generous.spec(), layers, times)
    assert [(row["exit"], row["scope"]) for row in rows] == [
        (exit, scope) for exit in range(1, len(layers.prefixes) + 1) for scope in ("prefix", "segments")
    ]
    for row in rows:
        assert row["floor_ms"] <= row["p50_ms"]
        assert row["floor_ms"] > row["fastest_ms"] / 100  # units that are wrong by a factor of 1000 would be below


def test_the_best_of_all_figures_becomes_the_specification(script: ModuleType) -> None:
    single = script.Peak(1, {"a": 10.0, "b": 30.0}, {1024: 5.0, 2048: 4.0})
    assert single.spec().peak_flops["fp32"].value == 30e9
    assert single.spec().memory_bandwidth.value == 5e9
    assert "b, threads: 1" in single.spec().peak_flops["fp32"].source
    both = script.Peak(2, {"a": 40.0}, {1024: 12.0}, single)  # a busy machine: less than twice what one thread reaches
    assert both.spec().peak_flops["fp32"].value == 60e9
    assert both.spec().memory_bandwidth.value == 12e9
    other = script.Peak(2, {"a": 70.0}, {1024: 1.0})
    higher = script._higher([both, other])
    assert (higher.peak_flops["fp32"].value, higher.memory_bandwidth.value) == (70e9, 12e9)
