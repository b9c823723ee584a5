"""Calibration and simulation on logits that are mapped from a file, in chunks."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from scripts import load_script
from stored_logits import Stored, make_stored, stored

from edgemate.calibration import (
    DEFAULT_REQUESTS,
    CalibrationOptions,
    Request,
    StoredSplit,
    calibrate,
    simulate,
    simulate_split,
)
from edgemate.calibration.simulation import _by_logits
from edgemate.calibration.solvers import eenet
from edgemate.core import chunks
from edgemate.core.scoring import exit_accuracy
from edgemate.policies import Confidence, Entropy, FixedExit, Margin, Patience, Policy
from edgemate.runs import Run, logits_file


@given(
    stored(),
    st.sampled_from([Confidence(0.6), Entropy(0.5, temperature=2.0), Margin(0.2), Patience(1), FixedExit(1)]),
    st.integers(0, 100),
)
def test_a_simulation_takes_the_exits_that_the_runtime_takes(case: Stored, policy: Policy, seed: int) -> None:
    logits, labels, costs = case
    broken = np.random.default_rng(seed).random(logits.shape) < 0.1
    logits = np.where(broken, np.float32(np.nan), logits)
    expected = _by_logits(logits, policy)
    found = simulate(logits, labels, costs, policy)
    np.testing.assert_array_equal(found.exits_taken, expected)
    assert found.accuracy == np.mean(logits[np.arange(len(labels)), expected - 1].argmax(axis=1) == labels)


def test_an_own_decision_of_a_policy_is_used() -> None:
    class Reluctant(Confidence):
        def passes(self, logits: npt.NDArray[Any], threshold: float) -> npt.NDArray[np.bool_]:
            return np.zeros(len(logits), dtype=np.bool_)

    found = simulate(*make_stored(50, 3, 4), Reluctant(0.1))
    assert found.fractions == (0, 0, 1)


@pytest.mark.parametrize("solver", ["direct", "msdnet", "patience", "eenet"])
def test_chunks_and_a_file_change_no_policy(solver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels, costs = make_stored(400, 4, 6)
    options = CalibrationOptions([*DEFAULT_REQUESTS, Request("certain", risk=0.2)], solver=solver)
    whole = calibrate(logits, labels, costs, options)
    np.save(tmp_path / "logits.npy", logits)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 4 * 4 * 6 * 33)
    mapped = calibrate(np.load(tmp_path / "logits.npy", mmap_mode="r"), labels, costs, options)
    for one, other in zip(whole.points.points, mapped.points.points, strict=True):
        assert one.expected.fractions == other.expected.fractions
        assert one.expected.accuracy == other.expected.accuracy
        np.testing.assert_allclose(one.thresholds or (), other.thresholds or (), rtol=1e-6)


def test_what_is_computed_of_the_logits_is_kept_for_other_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    split = StoredSplit(*make_stored(100, 3, 4))
    first = simulate_split(split, Confidence(0.5))

    def fail(*given: object) -> Iterator[Any]:
        raise AssertionError("the logits are read again")

    monkeypatch.setattr("edgemate.calibration.reductions.map_chunks", fail)
    again = simulate_split(replace(split, costs=[1.0, 2.0, 3.0]), Confidence(0.5))
    assert again.fractions == first.fractions


def test_a_large_split_trains_learned_scores_on_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    split = StoredSplit(*make_stored(600, 3, 5))
    monkeypatch.setattr(eenet, "TRAINED_BYTES", 200 * 4 * 3 * 5)
    weights = eenet.train_scores(split, split.costs[1])
    chosen = np.sort(np.random.default_rng(0).choice(600, 200, replace=False))
    for one, other in zip(weights, eenet.train_scores(split.part(chosen), split.costs[1]), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(eenet.scored(split, weights).scores) == 600


def test_a_large_split_takes_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, exits, classes, block = 100_000, 4, 100, 1000
    made, _, costs = make_stored(block, exits, classes)

    def stream() -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]]:
        for start in range(0, images, block):
            rolled, labels, _ = np.roll(made, start // block, axis=2), *make_stored(block, 1, classes, start)[1:]
            rolled[np.arange(block), :, labels] += np.arange(1, exits + 1, dtype=np.float32) * 2
            yield rolled, labels

    monkeypatch.setattr(logits_file, "HALF_FROM", 0)
    run = Run.create(tmp_path)
    run.stream_logits("calibration", stream(), images)
    logits, labels = run.read_logits("calibration")
    assert logits.nbytes == 80_000_000
    tracemalloc.start()
    try:
        found = calibrate(logits, labels, costs, CalibrationOptions([Request("balanced", max_drop=0.005)]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < logits.nbytes
    [point] = found.points.points
    assert point.goal_reached
    assert point.expected.mean_macs < costs[-1]
    assert point.expected.accuracy >= float(exit_accuracy(logits, labels)[-1]) - 0.005 - 1e-9


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_million_images_take_less_than_two_gigabytes(tmp_path: Path) -> None:
    benchmark = load_script("benchmarks/evaluation_scale.py")
    run = benchmark.make_run(tmp_path / "run", 1_000_000, 1000)
    assert run.read_logits("calibration").logits.nbytes == 8_000_000_000
    for command in ("calibrate", "evaluate"):
        found = benchmark.measure(benchmark.COMMANDS[command], run.path)
        assert found["anonymous_bytes"] <= found["resident_bytes"] < 2_000_000_000
    run.logits_path("test").unlink()
    run.logits_path("calibration").unlink()
