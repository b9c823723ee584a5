from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from edgemate.bundle import Bundle
from edgemate.core.scoring import exit_accuracy
from edgemate.errors import BundleError, UsageError
from edgemate.profiling import Profile, profile_bundle
from edgemate.profiling.assembling import stop_table
from edgemate.runtime.labeled import LabeledImages

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("profile")


@pytest.fixture(scope="module")
def profile(small_bundle: Bundle, output: Path) -> Profile:
    return profile_bundle(small_bundle, output, batches=(4,), threads=1, repeats=10)


def test_accuracies_are_those_of_the_calibration_logits(profile: Profile, small_bundle: Bundle) -> None:
    stored = small_bundle.calibration()
    assert (profile.kind, profile.split, profile.images) == ("bundle", "calibration", len(stored.labels))
    assert [exit.accuracy for exit in profile.exits] == exit_accuracy(stored.logits, stored.labels).tolist()


def test_there_are_no_figures_of_pytorch_and_all_others(profile: Profile, small_bundle: Bundle) -> None:
    assert profile.batches == (1, 4)
    assert {timing.case.library for timing in profile.measurement.timings} == {"onnxruntime"}
    assert len(profile.measurement.timings) == 3 * 3 * 2
    files = small_bundle.manifest.files
    for k, exit in enumerate(profile.exits, 1):
        assert exit.pytorch is None
        assert exit.peak_activation_bytes is None
        assert exit.onnxruntime_prefix == profile.measurement.latency("onnxruntime", "prefix", k)
        assert exit.prefix_bytes == files[f"onnx/prefix_{k}.onnx"].bytes
        assert exit.segments_bytes == sum(files[f"onnx/segment_{j}.onnx"].bytes for j in range(1, k + 1))
    assert set(profile.not_monotone) == {"onnxruntime_prefix", "onnxruntime_segments"}


def test_the_curve_of_latency_is_simulated_from_the_times_to_stop(profile: Profile, small_bundle: Bundle) -> None:
    points = [point for point in profile.points if point.curve == "accuracy-latency"]
    assert {point.provenance for point in points} == {"simulated"}
    first = min((point for point in points if point.kind == "threshold"), key=lambda point: point.threshold or 0)
    assert first.threshold == 0.0
    table = stop_table(profile.measurement, 10)
    assert first.latency_ms == pytest.approx(table.exits[0].mean_ms)
    assert first.latency_p99_ms == pytest.approx(table.p99_ms((1.0, 0.0, 0.0)))
    [full] = [point for point in points if point.kind == "full network"]
    assert full.latency_ms == profile.exits[-1].onnxruntime_prefix.mean
    assert {point.name for point in points if point.kind == "operating point"} == {"fast", "balanced", "accurate"}


def test_the_files_are_written_outside_of_the_bundle(profile: Profile, output: Path, small_bundle: Bundle) -> None:
    written = json.loads((output / "profile.json").read_text())
    assert written == json.loads(json.dumps(profile.to_json()))
    assert written["format_version"] == 1
    rows = list(csv.DictReader((output / "tradeoff.csv").read_text().splitlines()))
    assert len(rows) == len(profile.points)
    assert {row["split"] for row in rows} == {"calibration"}
    Bundle.open(small_bundle.path)  # its files are unchanged
    with pytest.raises(UsageError, match="is inside the bundle"):
        profile_bundle(small_bundle, small_bundle.path / "profile")


def test_what_the_machine_was_like_is_in_the_json(profile: Profile) -> None:
    found = profile.to_json()
    assert set(found["conditions"]) == {"before", "after", "others_cores"}
    for moment in ("before", "after"):
        for name, reading in found["conditions"][moment].items():
            assert (reading["value"] is None) == bool(reading["reason"]), name
    assert {(one["library"], one["graphs"]) for one in found["loading"]} == {
        ("onnxruntime", "segments"),
        ("onnxruntime", "prefix"),
    }
    assert all(set(one["backend"]) == {"onnxruntime", "threads"} for one in found["loading"])
    assert found["memory"]["process_peak_bytes"]["value"] > 1 << 20
    assert found["energy_sensor"]["onnxruntime"]["value"] or found["energy_sensor"]["onnxruntime"]["reason"]
    assert found["warm_up"]["rounds"] > 0
    [segments] = [
        one
        for one in found["timings"]
        if (one["graphs"], one["exit"], one["batch"], one["library"]) == ("segments", 3, 4, "onnxruntime")
    ]
    assert segments["ms_per_image"] == pytest.approx(segments["latency"]["p50"] / 4)


def test_with_labeled_images_these_are_scored_and_timed(
    small_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(3).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    classes = len(small_bundle.manifest.classes)
    data = LabeledImages(list(images), np.arange(20, dtype=np.int64) % classes)
    found = profile_bundle(small_bundle, tmp_path, data=data, images=7, threads=1, repeats=2)
    assert (found.split, found.images) == ("images", 20)
    latency = [point for point in found.points if point.curve == "accuracy-latency"]
    assert {(point.provenance, point.images) for point in latency} == {("measured", 7)}
    assert {point.images for point in found.points if point.curve == "accuracy-macs"} == {20}
    monkeypatch.setattr("edgemate.profiling.bundle_profiler.load_libraries", pytest.fail)
    with pytest.raises(UsageError, match="has no labels"):
        profile_bundle(small_bundle, tmp_path, data=LabeledImages(list(images), None), repeats=2)
    with pytest.raises(UsageError, match=r"has no labels \(folders of dogs\), which accuracy needs"):
        profile_bundle(small_bundle, tmp_path, data=LabeledImages(list(images), None, "folders of dogs"), repeats=2)


def test_a_bundle_without_prefixes_says_how_to_get_them(small_bundle: Bundle, tmp_path: Path) -> None:
    manifest = small_bundle.manifest
    graphs = {"segments": manifest.graphs["segments"]}
    lean = Bundle(small_bundle.path, manifest.model_copy(update={"graphs": graphs}))
    with pytest.raises(BundleError, match="has no prefixes, and a profile times both; export the run with layouts"):
        profile_bundle(lean, tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batches": (4, 0)}, "batch must be at least 1, not 0"),
        ({"batches": (1, 10**20)}, "batch must be at most 1,024, not 100000000000000000000"),
        ({"repeats": 0}, "repeats must be at least 1, not 0"),
    ],
)
def test_numbers_must_be_positive(
    small_bundle: Bundle, tmp_path: Path, options: dict[str, int | tuple[int, ...]], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        profile_bundle(small_bundle, tmp_path, **options)  # type: ignore[arg-type]
