from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import Opener

from edgemate.bundle import Bundle
from edgemate.latency import Latency
from edgemate.profiling import measuring
from edgemate.profiling.graph_calls import Calls, Loaded, OneSegment, graph_calls, load_libraries
from edgemate.profiling.measuring import measure_cases
from edgemate.profiling.spread import spread_warning, warm_up_warning
from edgemate.profiling.timings import Case, Timing
from edgemate.runtime import AnytimeClassifier
from edgemate.sensors.energy import Consumed, EnergySensor
from edgemate.sensors.reading import Reading
from edgemate.timing import SelfTimed


class Scripted(SelfTimed):
    """Takes the times given, over and over."""

    def __init__(self, *times: float) -> None:
        self.times = times
        self.calls = 0

    def __call__(self) -> float:
        self.calls += 1
        return self.times[self.calls % len(self.times)]


def scripted_calls(*times: float) -> Calls:
    return {
        Case("onnxruntime", graphs, exit, 1): Scripted(*(exit * ms for ms in times))
        for exit in (1, 2)
        for graphs in ("prefix", "segments", "segment", "stop")
    }


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which nothing else runs."""
    monkeypatch.setattr(measuring, "others_cores", lambda *_: Reading(0.0))


@pytest.fixture
def loaded(opener: Opener) -> Loaded:
    library = "onnxruntime" if opener.name == "onnxruntime" else "tensorrt"
    return Loaded(
        {
            (library, layout): AnytimeClassifier(opener.bundle, opener(layout), layout=layout)
            for layout in ("segments", "prefixes")
        },
        (),
        {},
    )


def test_every_graph_of_every_exit_is_called_with_the_whole_batch(loaded: Loaded, opener: Opener) -> None:
    images = opener.bundle.golden().images[:2]
    calls = graph_calls(loaded, images, (1, 4))
    [library] = {library for library, _ in loaded.classifiers}
    assert set(calls) == {
        *(
            Case(library, graphs, exit, batch)
            for graphs in ("prefix", "segments", "segment")
            for exit in (1, 2, 3)
            for batch in (1, 4)
        ),
        *(Case(library, "stop", exit, 1) for exit in (1, 2, 3)),
    }
    for case, call in calls.items():
        answers: Any = call()
        if case.graphs == "segment":
            assert answers > 0
        else:
            assert [answer.exit for answer in answers] == [case.exit] * case.batch


def test_only_the_segment_itself_is_timed(loaded: Loaded, opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0]
    monkeypatch.setattr("edgemate.profiling.graph_calls.time.perf_counter_ns", lambda: now[0])
    [backend] = {classifier.backend for (_, layout), classifier in loaded.classifiers.items() if layout == "segments"}
    flow_type = type(backend.begin(opener.bundle.golden().images[:1]))
    advance = flow_type.advance

    def slow(self: Any) -> Any:
        now[0] += 2_000_000
        return advance(self)

    monkeypatch.setattr(flow_type, "advance", slow)
    assert OneSegment(backend, 3, opener.bundle.golden().images[:1])() == 2.0
    assert now[0] == 6_000_000


def test_a_batch_that_the_engines_do_not_take_is_noted(loaded: Loaded, opener: Opener) -> None:
    calls = graph_calls(loaded, opener.bundle.golden().images, (1, 64))
    limited = opener.name != "onnxruntime"
    assert any(case.batch == 64 for case in calls) is not limited
    assert bool(loaded.unavailable) is limited
    assert all("at most 32 images" in reason for reason in loaded.unavailable.values())


def test_a_bundle_without_engines_says_that_it_has_none(opener: Opener) -> None:
    if opener.name != "onnxruntime":
        pytest.skip("this bundle has engines")
    with contextlib.ExitStack() as stack:
        found = load_libraries(opener.bundle, opener.bundle.golden().images[:1], 1, stack)
    assert set(found.classifiers) == {("onnxruntime", "segments"), ("onnxruntime", "prefixes")}
    assert set(found.unavailable) == {"tensorrt", "tensorrt_rtx"}
    assert all(one.load_ms > 0 and one.first_call_ms > 0 for one in found.loading)


def test_a_library_that_cannot_be_used_is_one_reason(opener: Opener, tmp_path: Path) -> None:
    if opener.name != "onnxruntime":
        pytest.skip("has TensorRT")
    bundle = Bundle.open(shutil.copytree(opener.bundle.path, tmp_path / "with engines"))
    (bundle.path / "engines" / "any").mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        found = load_libraries(bundle, bundle.golden().images[:1], 1, stack)
    assert set(found.unavailable) == {"tensorrt", "tensorrt_rtx"}
    assert all("TensorRT" in reason or "GPU" in reason for reason in found.unavailable.values())


def test_engines_are_loaded_where_they_fit(opener: Opener) -> None:
    if opener.name != "fake_tensorrt":
        pytest.skip("of the fake device")
    pytest.importorskip("onnxruntime")
    with contextlib.ExitStack() as stack:
        found = load_libraries(opener.bundle, opener.bundle.golden().images[:1], 1, stack)
    assert ("tensorrt", "segments") in found.classifiers
    assert ("tensorrt", "prefixes") in found.classifiers


@pytest.mark.usefixtures("quiet")
def test_steady_times_have_no_warning_and_slow_cases_have_fewer_repeats() -> None:
    calls = {**scripted_calls(1.0), Case("onnxruntime", "prefix", 2, 16): Scripted(250.0)}
    found = measure_cases(calls, repeats=100)
    assert found.warnings == ()
    assert found.warm_up_stable is True
    repeats = {timing.case: timing.latency.repeats for timing in found.timings}
    assert repeats.pop(Case("onnxruntime", "prefix", 2, 16)) == 16  # four seconds
    assert set(repeats.values()) == {100}
    assert "stop" not in {timing.case.graphs for timing in found.timings}
    [stops] = found.stop_times.values()
    assert [(one.exit, one.mean_ms, one.quantiles_ms[50]) for one in stops] == [(1, 1.0, 1.0), (2, 2.0, 2.0)]


@pytest.mark.usefixtures("quiet")
def test_times_that_vary_have_a_warning_with_the_widest() -> None:
    calls = scripted_calls(1.0, 1.0, 1.5, 1.5)
    calls[Case("onnxruntime", "segments", 2, 1)] = Scripted(1.0, 1.0, 2.0, 2.0)
    found = measure_cases(calls, repeats=40)
    [warning] = [warning for warning in found.warnings if "spread" in warning]
    assert "6 of 6 timings, most of all onnxruntime segments of exit 2 at batch 1" in warning
    assert "run again on an idle machine" in warning


def test_other_processes_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "others_cores", lambda *_: Reading(64.0))
    found = measure_cases(scripted_calls(1.0), repeats=10)
    assert any("other processes used 64.0 of" in warning for warning in found.warnings)
    assert found.to_json()["conditions"]["others_cores"] == {"value": 64.0, "reason": None}


def test_beside_a_busy_process_a_real_measurement_warns() -> None:
    if measuring.read_cpu_times() is None:
        pytest.skip("no /proc/stat here")
    weights = np.random.default_rng(0).normal(size=(96, 96))
    calls = {case: lambda: weights @ weights for case in scripted_calls(1.0)}
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        found = measure_cases(calls, repeats=2000)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert found.others_cores.value > 0.1
    cores = measuring.read_cpu_times().cores  # type: ignore[union-attr]
    if cores <= 10:  # two processes are little on a larger machine
        assert any("other processes used" in warning for warning in found.warnings)


class Meter(EnergySensor):
    """1 J per block that runs."""

    name, scope = "meter", "everything"

    @contextlib.contextmanager
    def running(self) -> Iterator[Consumed]:
        found = Consumed()
        yield found
        found.joules, found.seconds = 1.0, 0.5


@pytest.mark.usefixtures("quiet")
def test_energy_is_measured_of_prefixes_and_segments_where_a_sensor_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "find_energy_sensor", lambda *_, **__: Meter())
    monkeypatch.setattr(measuring, "ENERGY_SECONDS", 0.001)
    monkeypatch.setattr("edgemate.sensors.energy.per_image.time.sleep", lambda _: None)
    found = measure_cases(scripted_calls(1.0), repeats=10)
    assert found.energy_sensor["onnxruntime"].value == {"name": "meter", "scope": "everything"}
    for timing in found.timings:
        assert (timing.energy is None) == (timing.case.graphs == "segment")
        if timing.energy is not None:
            assert timing.energy.millijoules == pytest.approx(1000 / timing.energy.images)


@pytest.mark.usefixtures("quiet")
def test_a_sensor_that_fails_meanwhile_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Meter):
        @contextlib.contextmanager
        def running(self) -> Iterator[Consumed]:
            yield Consumed(1.0, 1.0)
            raise OSError("energy_uj: cannot be read")

    monkeypatch.setattr(measuring, "find_energy_sensor", lambda *_, **__: Broken())
    monkeypatch.setattr("edgemate.sensors.energy.per_image.time.sleep", lambda _: None)
    found = measure_cases(scripted_calls(1.0), repeats=10)
    assert found.energy_sensor["onnxruntime"] == Reading.missing("energy_uj: cannot be read")
    assert all(timing.energy is None for timing in found.timings)


@pytest.mark.parametrize(("wide", "warned"), [(0, False), (1, False), (2, True), (10, True)])
def test_single_wide_timings_among_many_are_chance(wide: int, warned: bool) -> None:
    steady, varied = Latency.of([10.0] * 20), Latency.of([10.0, 15.0] * 10)
    timings = [
        Timing(Case("onnxruntime", "prefix", exit, 1), varied if exit <= wide else steady) for exit in range(1, 11)
    ]
    assert (spread_warning(timings) is not None) is warned


def test_times_that_still_change_after_the_warm_up_are_a_warning() -> None:
    assert warm_up_warning(20, True) is None
    assert warm_up_warning(3, None) is None
    assert warm_up_warning(200, False) == "times were still changing after 200 rounds of warm-up"
