from __future__ import annotations

import json
import math
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import typer
from commands import invoke
from PIL import Image
from small_network import CLASSES
from typer.testing import CliRunner

import edgemate
from edgemate.api import make_keys
from edgemate.bundle import Bundle, replace_file
from edgemate.calibration import read_operating_points
from edgemate.cli.bench import bench
from edgemate.cli.calibrate import calibrate
from edgemate.cli.evaluate import evaluate
from edgemate.cli.evaluation_tables import print_report
from edgemate.errors import BundleError, DataError, UsageError
from edgemate.latency_tables import measured_devices, write_latency_table
from edgemate.machine import processor
from edgemate.monitoring import Statistics
from edgemate.runtime import AnytimeClassifier, measure_stops

pytestmark = pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs onnxruntime")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    path = tmp_path / "images.npz"
    images = random.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    np.savez(path, x_test=images, y_test=random.integers(0, len(CLASSES), 40))
    return path


def test_measured_figures_stand_beside_what_was_predicted(own_bundle: Path, images: Path, tmp_path: Path) -> None:
    output = tmp_path / "evaluation.json"
    options = ("--data", images, "--threads", 1, "--batch", 7, "--policy", "balanced", "--policy", "full")
    result = invoke(evaluate, own_bundle, *options, "--json", "--output", output)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert json.loads(output.read_text()) == report
    assert [point["name"] for point in report["points"]] == ["balanced", "full"]
    with np.load(images) as archive:
        images = dict(archive)
    with AnytimeClassifier.load(own_bundle, threads=1) as classifier:
        for point in report["points"]:
            answers = classifier.classify(list(images["x_test"]), point["name"])
            for found, batch in zip(point["measured"], (1, 7), strict=True):
                assert found["batch"] == batch
                assert found["accuracy"] == np.mean([answer.index for answer in answers] == images["y_test"])
                fractions = np.bincount([answer.exit for answer in answers], minlength=4)[1:] / 40
                assert found["fractions"] == pytest.approx(fractions.tolist())
                assert 0 < found["p50_ms"] <= found["p99_ms"]
                steps = found["decode_ms"] + found["prepare_ms"] + found["ms_per_image"]
                assert found["total_ms"] == pytest.approx(steps)
                assert found["prepare_ms"] > 0
                whole = report["points"][1]["measured"][batch == 7]
                assert found["speedup"] == pytest.approx(whole["ms_per_image"] / found["ms_per_image"])
                whole_ms = found["decode_ms"] + found["prepare_ms"] + whole["ms_per_image"]
                assert found["total_speedup"] == pytest.approx(whole_ms / found["total_ms"])
            assert "accuracy" in point["gaps"]
            predicted, measured = point["predicted"]["accuracy"], point["measured"][0]["accuracy"]
            gap = point["accuracy_gap"]
            assert gap["gap"] == pytest.approx(measured - predicted)
            error = math.sqrt(predicted * (1 - predicted) / 24 + measured * (1 - measured) / 40)
            assert gap["standard_error"] == pytest.approx(error)
            assert gap["beyond_chance"] == (abs(gap["gap"]) > 2 * error)
            assert point["predicted"]["mean_ms"] is None
    assert report["points"][1]["drift_alerts"] == []


def test_times_are_predicted_from_this_devices_table(own_bundle: Path, images: Path) -> None:
    kept = invoke(bench, own_bundle, "--threads", 1, "--repeats", 10, "--warmup", 1, "--device", "here")
    assert kept.exit_code == 0, kept.output
    assert "stored in the bundle: latency/here.json" in kept.stdout
    assert measured_devices(Bundle.open(own_bundle)) == ["here"]
    assert "the latency table of here" in invoke(calibrate, own_bundle).stdout
    options = ("--data", images, "--threads", 1, "--policy", "fast", "--json")
    report = json.loads(invoke(evaluate, own_bundle, *options).stdout)
    assert report["predicted_times"] == {"device": "here", "differences": []}
    [point] = report["points"]
    assert point["predicted"]["mean_ms"] > 0 < point["predicted"]["p99_ms"]
    shown = invoke(evaluate, own_bundle, *options[:-1])
    for text in ("predicted", "batch 1", "batch 16", "per image", "times predicted for here (onnxruntime "):
        assert text in shown.stdout
    for options, problem in (
        (("--device", "a/b"), "device 'a/b': name it in letters"),
        (("--device", "here", "--batch", 2), "a latency table is of one image at a time"),
    ):
        assert problem in str(invoke(bench, own_bundle, *options).exception)


def test_the_drop_below_the_whole_network_is_predicted_and_measured(own_bundle: Path, images: Path) -> None:
    with np.load(images) as archive:
        pixels, labels = list(archive["x_test"]), archive["y_test"]
    with AnytimeClassifier.load(own_bundle, threads=1) as classifier:
        right = {
            name: np.mean([answer.index for answer in classifier.classify(pixels, name)] == labels)
            for name in ("fast", "full")
        }
    expected = {point.name: point.expected for point in read_operating_points(Bundle.open(own_bundle)).points}
    for names in (["fast"], ["fast", "full"]):
        policies = [option for name in names for option in ("--policy", name)]
        result = invoke(evaluate, own_bundle, "--data", images, "--threads", 1, *policies, "--json")
        point = json.loads(result.stdout)["points"][0]
        assert point["predicted"]["drop"] == pytest.approx(expected["full"].accuracy - expected["fast"].accuracy)
        for found in point["measured"]:
            assert found["drop"] == pytest.approx(right["full"] - right["fast"])


def test_times_of_another_device_are_named_and_not_held_against_this_one(own_bundle: Path, images: Path) -> None:
    bundle = Bundle.open(own_bundle)
    with AnytimeClassifier.load(own_bundle, threads=1) as classifier:
        table = measure_stops(classifier, bundle.golden().images, device="board", warmup=1, repeats=5)
    slow = [times.model_copy(update={"mean_ms": 1000.0 * times.exit}) for times in table.exits]
    write_latency_table(bundle, table.model_copy(update={"machine": {"processor": "a board"}, "exits": tuple(slow)}))
    assert invoke(calibrate, own_bundle, "--device", "board").exit_code == 0
    options = ("--data", images, "--threads", 1, "--policy", "full")
    shown = invoke(evaluate, own_bundle, *options).stdout
    assert f"warning: times predicted for board (processor a board, here {processor()})" in shown
    report = json.loads(invoke(evaluate, own_bundle, *options, "--json").stdout)
    [point] = report["points"]
    assert point["predicted"]["mean_ms"] == 3000
    assert set(point["gaps"]) <= {"accuracy"}
    assert report["predicted_times"]["device"] == "board"
    (own_bundle / "latency" / "board.json").unlink()
    assert (
        "times predicted for board (what that is cannot be read from the bundle)"
        in invoke(evaluate, own_bundle, *options).stdout
    )


@pytest.mark.parametrize("columns", [80, 40])
def test_no_figure_is_cut_on_a_narrow_screen(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgemate.cli.console.is_screen", lambda **_: True)
    figures = {"accuracy": 0.98765, "drop": 0.01234, "mean_ms": 1234.5, "p50_ms": 1111.1, "p99_ms": 2222.2}
    fractions = [0.111, 0.222, 0.333, 0.134, 0.2]
    before = {"decode_ms": 432.1, "prepare_ms": 765.4, "total_ms": 1320.9, "speedup": 12.34, "total_speedup": None}
    found = {**figures, **before, "fractions": fractions, "ms_per_image": 123.45}
    row = {
        "name": "guaranteed",
        "predicted": {**figures, "fractions": fractions},
        "measured": [{**found, "batch": 1}, {**found, "batch": 16}],
        "accuracy_gap": {"gap": -0.01234, "standard_error": 0.0042, "beyond_chance": True},
        "gaps": ["accuracy", "mean_ms", "p99_ms"],
        "drift_alerts": [],
    }
    times = {"device": "here", "differences": []}
    report = {
        "bundle": "a",
        "machine": {},
        "backend": {},
        "images": 10_000,
        "predicted_times": times,
        "points": [row],
    }
    app = typer.Typer()
    app.command()(lambda: print_report(report))
    shown = CliRunner(env={"COLUMNS": str(columns)}).invoke(app).stdout
    assert "…" not in shown
    for text in (
        "98.77 %",
        "-1.23 ± 0.42 **",
        "1.23",
        "11.1",
        "13.4",
        "20.0",
        "1234 *",
        "2222 *",
        "1111",
        "123",
        "batch 16",
    ):
        assert text in shown
    tables = [line for line in shown.splitlines() if line[:1] in "┏│└"]
    assert columns == 40 or max(map(len, tables)) <= columns
    assert "** and of more than two standard errors" in shown


def test_a_bundle_of_another_number_of_exits_is_no_comparison_before_anything_is_measured(
    own_bundle: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = read_operating_points(Bundle.open(own_bundle))
    parameters, expected = {"threshold": [0.5]}, points.get("balanced").expected
    two = points.get("balanced").model_copy(
        update={"parameters": parameters, "expected": expected.model_copy(update={"fractions": (0.5, 0.5)})}
    )
    monkeypatch.setattr(
        "edgemate.calibration.read_operating_points",
        lambda bundle: points.model_copy(update={"points": (two,)}) if bundle.path == tmp_path / "other" else points,
    )
    shutil.copytree(own_bundle, tmp_path / "other")
    monkeypatch.setattr("edgemate.runtime.evaluate_policy", pytest.fail)
    given = ("--data", images, "--policy", "balanced", "--against", tmp_path / "other")
    refused = invoke(evaluate, own_bundle, *given).exception
    assert str(refused) == "against: its balanced is for 2 exits, and this network has 3"
    for option in ({"batch": 0}, {"images": -1}):
        with pytest.raises(UsageError, match="must be 1 or more"):
            edgemate.evaluate(own_bundle, data=images, **option)


@pytest.mark.parametrize("batch", [None, 10**20])
def test_no_batch_is_reported_that_is_larger_than_the_images(own_bundle: Path, images: Path, batch: int | None) -> None:
    report = edgemate.evaluate(own_bundle, ["full"], data=images, images=3, batch=batch, threads=1).to_json()
    assert [found["batch"] for found in report["points"][0]["measured"]] == [1, 3]


def test_other_images_than_calibrated_are_warned_of(own_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    for i in range(60):
        Image.fromarray(np.full((8, 8, 3), (0, 255, i), np.uint8)).save(folder / f"{i}.png")
    _say_images(Bundle.open(own_bundle), 5000)
    options = ("--data", folder, "--threads", 1, "--against", own_bundle, "--policy", "balanced")
    report = json.loads(invoke(evaluate, own_bundle, *options, "--json").stdout)
    assert not report["labeled"]
    assert report["points"][0]["measured"][0]["accuracy"] is None
    assert report["points"][0]["drift_alerts"]
    shown = invoke(evaluate, own_bundle, *options)
    assert "warning: balanced: " in shown.stdout
    assert "thresholds picked on other images do not hold" in shown.stdout


def _say_images(bundle: Bundle, images: int) -> None:
    """Let the operating points have been chosen on so many: 24 say little about what to expect."""
    points = json.loads(bundle.file("policies.json").read_text())
    for point in points["points"]:
        point["images"] = images
    replace_file(bundle, "policies.json", json.dumps(points).encode())


def test_a_programs_own_statistics_can_be_compared(own_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "statistics.json"
    golden = Bundle.open(own_bundle).golden()
    with AnytimeClassifier.load(own_bundle, threads=1) as classifier:
        classifier.classify(golden.images, "balanced")
        classifier.statistics().write(path)
    same = invoke(evaluate, path, "--against", own_bundle, "--policy", "balanced")
    assert same.exit_code == 0, same.output
    assert "balanced: fractions and probability are within what was calibrated" in same.stdout
    Statistics(answers=(0, 0, 1000), probability_sum=300.0).write(path)
    assert "warning: balanced: exit 3" in invoke(evaluate, path, "--against", own_bundle, "--policy", "balanced").stdout
    assert "statistics need something to compare with" in str(invoke(evaluate, path).exception)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--data", "nowhere"), "data"),
        (("--images", 3), "images"),
        (("--batch", 4), "batch"),
        (("--backend", "tensorrt"), "backend"),
        (("--threads", 1), "threads"),
        (("--split", "test"), "split"),
        (("--thresholds", "0.9"), "thresholds"),
        (("--trust-engines",), "trust_engines"),
        (("--exact-pixels",), "exact_pixels"),
        (("--per-class",), "per_class"),
        (("--confusion", "--json"), "confusion"),
    ],
)
def test_what_says_nothing_of_stored_statistics_is_refused(
    small_bundle: Bundle, tmp_path: Path, options: tuple[object, ...], named: str
) -> None:
    path = tmp_path / "statistics.json"
    Statistics(answers=(1, 0, 0), probability_sum=0.9).write(path)
    result = invoke(evaluate, path, "--against", small_bundle.path, "--policy", "balanced", *options)
    assert isinstance(result.exception, UsageError)
    assert f"`{named}`: stored statistics are counts" in str(result.exception)
    assert not result.stdout


def test_the_bundle_that_statistics_are_compared_with_must_be_signed_where_keys_are_given(
    own_bundle: Path, tmp_path: Path
) -> None:
    pytest.importorskip("cryptography")
    make_keys(tmp_path / "own.key", tmp_path / "own.pub")
    Statistics(answers=(1, 0, 0), probability_sum=0.9).write(tmp_path / "statistics.json")
    given = (tmp_path / "statistics.json", "--against", own_bundle, "--policy", "balanced")
    refused = invoke(evaluate, *given, "--trusted-keys", tmp_path / "own.pub").exception
    assert isinstance(refused, BundleError)
    assert "is not signed" in str(refused)


def test_folders_of_classes_are_labels(own_bundle: Path, tmp_path: Path) -> None:
    for name in CLASSES[:2]:
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "data" / name / "black.png")
    options = ("--data", tmp_path / "data", "--threads", 1, "--policy", "full", "--json")
    report = json.loads(invoke(evaluate, own_bundle, *options).stdout)
    assert report["points"][0]["measured"][0]["accuracy"] in (0.0, 0.5)
    (tmp_path / "data" / "unheard of").mkdir()
    strange = invoke(evaluate, own_bundle, *options)
    assert isinstance(strange.exception, DataError)
    assert "'unheard of' is not one of the bundle's classes" in str(strange.exception)
    for name in CLASSES[:2]:
        (tmp_path / "data" / name).rename(tmp_path / "data" / f"other {name}")
    (unknown,) = json.loads(invoke(evaluate, own_bundle, *options).stdout)["warnings"]
    assert "are none of the bundle's classes" in unknown
    assert unknown.endswith("so accuracies are unknown")


def test_where_no_images_are_known_it_asks_for_them(own_bundle: Path, tmp_path: Path) -> None:
    assert isinstance(invoke(evaluate, own_bundle).exception, UsageError)
    assert "name them with `data`" in str(invoke(evaluate, own_bundle).exception)
    np.savez(tmp_path / "wrong.npz", x_test=np.zeros((3, 8, 8), np.float32))
    assert "must be uint8" in str(invoke(evaluate, own_bundle, "--data", tmp_path / "wrong.npz").exception)


def _say_source(bundle: Path, name: str, options: dict[str, object] | None) -> None:
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["source"]["data"] = name
    if options is None:  # as in a bundle of before they were kept
        manifest.pop("data_options")
    else:
        manifest["data_options"] = options
    (bundle / "bundle.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("os:abort", {}, "'os:abort' is not a registered dataset"),
        ("digits", None, "digits: the options of its split are not stored"),
        ("arrays", None, "arrays: its images are files of a user's own, which no other file may name"),
        pytest.param(
            "digits",
            {},
            "its test images (digits) cannot be read without sklearn, which is not installed",
            marks=pytest.mark.skipif(find_spec("sklearn") is not None, reason="scikit-learn is installed"),
        ),
    ],
)
def test_images_that_cannot_be_found_or_must_not_be_are_asked_for(
    own_bundle: Path, name: str, options: dict[str, object] | None, problem: str
) -> None:
    _say_source(own_bundle, name, options)
    result = invoke(evaluate, own_bundle, "--threads", 1)
    assert isinstance(result.exception, UsageError)
    assert problem in str(result.exception)
    assert str(result.exception).endswith("name them with `data`")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("arrays", {"path": "private.npz"}),
        ("image_folder", {"path": "/usr"}),
        ("image_table", {"path": "t.csv", "root": "/"}),
        ("cifar10", {"root": "made"}),
        ("cifar10", {"root": "made", "download": True}),
        ("imagenette", {"root": "/etc"}),
        ("digits", {"test_seed": 0, "cache": "made"}),
        ("", {"path": "private.npz"}),
    ],
)
def test_a_bundle_names_no_file_and_no_folder(
    own_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, object]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "private.npz", x_test=np.zeros((3, 8, 8, 3), np.uint8), y_test=np.zeros(3, np.int64))
    before = sorted(path.name for path in tmp_path.iterdir())
    _say_source(own_bundle, name, options)
    result = invoke(evaluate, own_bundle, "--threads", 1)
    assert isinstance(result.exception, BundleError)
    assert "bundle.json: data_options: a bundle may not name " in str(result.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")
def test_the_test_split_is_found_by_the_datasets_name_and_options(request: pytest.FixtureRequest) -> None:
    bundle = request.getfixturevalue("exported").bundle
    options = ("--images", 50, "--threads", 1, "--policy", "full", "--json")
    report = json.loads(invoke(evaluate, bundle.path, *options).stdout)
    assert (report["images"], report["labeled"]) == (50, True)
    run = request.getfixturevalue("finished_run")
    logits, labels = run.read_logits("test")
    assert report["warnings"] == []  # of some of the images nothing was recorded
    rows = np.linspace(0, len(labels) - 1, 50).astype(int)
    accuracy = np.mean(logits[rows, -1].argmax(axis=1) == labels[rows])
    assert report["points"][0]["measured"][0]["accuracy"] == pytest.approx(accuracy)
    whole = json.loads(invoke(evaluate, bundle.path, "--threads", 1, "--policy", "full", "--json").stdout)
    assert (whole["images"], whole["warnings"]) == (len(labels), [])


@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")
def test_another_test_split_than_was_recorded_is_doubted(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(request.getfixturevalue("exported").bundle.path, tmp_path / "other"))
    _say_source(bundle, "digits", {"test_seed": 1})
    result = invoke(evaluate, bundle, "--threads", 1, "--policy", "fast")
    assert "warning: the whole network is right about" in result.stdout
    assert "some may be training images" in " ".join(result.stdout.split())
