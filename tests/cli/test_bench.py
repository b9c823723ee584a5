from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
from bundles import write_small_bundle
from PIL import Image
from typer.testing import CliRunner, Result

import edgemate
from edgemate.bundle import Bundle
from edgemate.bundle.manifest import Layout
from edgemate.cli.bench import bench
from edgemate.errors import BundleError, ImageError, UsageError
from edgemate.runtime import ExitLatency, Latency
from edgemate.sensors.energy import Consumed
from edgemate.sensors.energy.sensor import PowerSensor
from edgemate.sensors.reading import Reading

pytestmark = pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs onnxruntime")


def run(*arguments: Any) -> Result:
    app = typer.Typer()
    app.command()(bench)
    options = ("--repeats", 5, "--warmup", 1, "--threads", 1)
    return CliRunner().invoke(app, [str(argument) for argument in (*arguments, *options)])


def test_every_exit_is_measured_and_the_machine_is_named(small_bundle: Bundle, tmp_path: Path) -> None:
    result = run(small_bundle.path, "--batch", 30, "--json", "--output", tmp_path / "bench.json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert json.loads((tmp_path / "bench.json").read_text()) == report
    assert [row["exit"] for row in report["exits"]] == [1, 2, 3]
    for row in report["exits"]:
        for layout in ("segments", "prefix"):
            assert 0 < row[layout]["p50"] <= row[layout]["p90"] <= row[layout]["p99"]
            assert row[layout]["repeats"] == 5
    assert (report["batch"], report["unit"], report["backend"]["threads"]) == (30, "ms", "1")
    assert report["machine"]["processor"]
    before = report["input"]["decode"]["p50"] + report["input"]["prepare"]["p50"]
    assert report["input"]["image"] == "a JPEG of 1920x1080, tiled with the golden samples"
    whole = report["exits"][-1]["prefix"]["p50"]
    for row in report["exits"]:
        network = row["segments"]["p50"]
        assert row["total_ms"] == pytest.approx(before + network / 30)
        assert row["speedup"] == pytest.approx(whole / network)
        # What comes before the network is not shortened: the gain is closer to none.
        assert abs(row["total_speedup"] - 1) <= abs(row["speedup"] - 1)


@pytest.mark.parametrize(("layout", "column"), [("segments", "segments"), ("prefixes", "prefix")])
def test_a_bundle_of_one_layout_is_timed_by_that(
    small_bundle: Bundle, tmp_path: Path, layout: Layout, column: str
) -> None:
    graphs = {layout: small_bundle.manifest.graphs[layout]}
    path = write_small_bundle(tmp_path / "one", graphs=graphs).path
    report = json.loads(run(path, "--json").stdout)
    other = {"segments": "prefix", "prefix": "segments"}[column]
    whole = report["exits"][-1][column]["p50"]
    for row in report["exits"]:
        assert row[other] is row["segments_over_prefix"] is None
        assert row["network_ms"] == row[column]["p50"]
        assert row["speedup"] == pytest.approx(whole / row[column]["p50"])
    assert list(report["not_monotone"]) == [column]
    shown = run(path)
    assert shown.exit_code == 0, shown.output
    assert column in shown.stdout
    assert ("as all its segments" in shown.stdout) == (layout == "segments")


def test_what_cannot_be_timed_is_refused_before_anything_is(small_bundle: Bundle, tmp_path: Path) -> None:
    refused = run(small_bundle.path, "--device", "mine", "--layouts", "prefixes").exception
    assert isinstance(refused, UsageError)
    assert str(refused) == "device: a latency table is measured on segments, and only prefixes are timed"
    refused = run(small_bundle.path, "--layouts", "segments,conditional").exception
    assert str(refused) == "layouts: only segments and prefixes are timed, not 'conditional'"
    segments = {"segments": small_bundle.manifest.graphs["segments"]}
    path = write_small_bundle(tmp_path / "segments", graphs=segments).path
    refused = run(path, "--layouts", "segments,prefixes").exception
    assert isinstance(refused, BundleError)
    assert str(refused) == f"{path}: has no prefixes, only segments"
    bundle = write_small_bundle(tmp_path / "both", conditional=True)
    path = write_small_bundle(
        tmp_path / "conditional", conditional=True, graphs={"conditional": bundle.manifest.graphs["conditional"]}
    ).path
    assert "has neither segments nor prefixes, only conditional" in str(run(path).exception)


def test_numbers_are_checked_without_the_command_line_too(small_bundle: Bundle) -> None:
    for options in ({"repeats": 0}, {"warmup": -1}):
        with pytest.raises(UsageError, match=r"(repeats|warmup): must be [01] or more"):
            edgemate.bench(small_bundle, threads=1, **options)


def test_one_of_two_layouts_can_be_timed_alone(small_bundle: Bundle) -> None:
    report = json.loads(run(small_bundle.path, "--layouts", "segments", "--json").stdout)
    assert [row["prefix"] for row in report["exits"]] == [None] * 3


def test_the_image_that_is_decoded_can_be_named(small_bundle: Bundle, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "own.png")
    report = json.loads(run(small_bundle.path, "--image", tmp_path / "own.png", "--json").stdout)
    assert report["input"]["image"] == str(tmp_path / "own.png")
    assert report["input"]["decode"]["repeats"] == 5
    assert isinstance(run(small_bundle.path, "--image", tmp_path / "none.png").exception, ImageError)


@pytest.mark.parametrize(("medians", "marked"), [((3.0, 2.0, 4.0), [1]), ((2.0, 3.0, 4.0), [])])
def test_times_that_fall_from_exit_to_exit_are_marked(
    small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, medians: tuple[float, ...], marked: list[int]
) -> None:
    def latency(ms: float) -> Latency:
        return Latency(ms, 9.0, 9.0, 9.0, 5)

    measured = [ExitLatency(k + 1, latency(ms), latency(k + 1.0)) for k, ms in enumerate(medians)]
    monkeypatch.setattr("edgemate.runtime.measure_exits", lambda *_, **__: measured)
    shown = run(small_bundle.path).stdout
    assert ("not monotone: slower than a later exit, so the machine was busy" in shown) == bool(marked)
    assert ("3.00 !" in shown) == bool(marked)
    report = json.loads(run(small_bundle.path, "--json").stdout)
    assert report["not_monotone"] == {"segments": marked, "prefix": []}


def test_the_table_has_a_row_per_exit(small_bundle: Bundle) -> None:
    result = run(small_bundle.path)
    assert result.exit_code == 0, result.output
    assert "ms per batch of 1" in result.stdout
    assert "onnxruntime" in result.stdout
    for name in ("stage1", "stage2", "stage3"):
        assert name in result.stdout


class Sampled(PowerSensor):
    """A sensor that says what it is told to."""

    name, scope = "INA3221", "the module (VDD_IN)"

    def __init__(self) -> None:
        self.runs = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[Consumed]:
        self.runs += 1
        found = Consumed()
        yield found
        found.joules, found.seconds = (5.0, 1.0) if self.runs == 1 else (42.0, 2.0)

    def watts(self) -> float:
        raise AssertionError("it is told")


def test_the_machines_state_is_in_the_report(small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgemate.runtime.power.find_energy_sensor", lambda part, gpu: Sampled())
    monkeypatch.setattr("edgemate.runtime.power.SECONDS", 0.01)
    monkeypatch.setattr("edgemate.sensors.speed.read_speed_settings", lambda: {"power mode": "15W"})
    monkeypatch.setattr("edgemate.sensors.conditions.throttling_warning", lambda *_: "throttled meanwhile")
    report = json.loads(run(small_bundle.path, "--json").stdout)
    assert report["machine"]["power mode"] == "15W"
    for moment in ("before", "after"):
        state = report["conditions"][moment]
        assert {"clocks_mhz", "temperatures_c", "throttling", "power_mode", "gpu"} <= state.keys()
        assert all((found["value"] is None) == bool(found["reason"]) for found in state.values())
    power = report["power"]["value"]
    assert (power["sensor"], power["idle_watts"], power["busy_watts"]) == ("INA3221", 5.0, 21.0)
    assert power["millijoules"] > 0
    assert report["warnings"] == ["throttled meanwhile"]
    shown = run(small_bundle.path).stdout
    assert "power mode 15W" in shown
    assert "power of the module (VDD_IN) by INA3221: idle 5.0 W, busy 21.0 W" in shown
    assert "warning: throttled meanwhile" in shown


def test_without_a_sensor_the_report_says_why(small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgemate.runtime.power.find_energy_sensor", lambda part, gpu: Reading.missing("no sensor"))
    report = json.loads(run(small_bundle.path, "--json").stdout)
    assert report["power"] == {"value": None, "reason": "no sensor"}
