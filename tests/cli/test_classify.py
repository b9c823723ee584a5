from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from bundles import write_small_bundle
from PIL import Image
from small_network import CLASSES
from typer.testing import CliRunner, Result

from edgemate import files
from edgemate.bundle import Bundle, replace_file
from edgemate.cli.classify import classify
from edgemate.errors import BundleError, DataError, UsageError
from edgemate.policies import Confidence
from edgemate.runtime import AnytimeClassifier

pytestmark = pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs onnxruntime")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    random = np.random.default_rng(0)
    for name in ("b.png", "a.PNG", "deep/c.bmp"):
        Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("not looked at")
    return folder


def run(*arguments: Any) -> Result:
    app = typer.Typer()
    app.command()(classify)
    return CliRunner().invoke(app, [str(argument) for argument in (*arguments, "--threads", 1)])


def answers(*arguments: Any) -> list[dict[str, Any]]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_every_image_is_answered_sorted_as_the_classifier_would(small_bundle: Bundle, images: Path) -> None:
    found = answers(small_bundle.path, images, "--threshold", 0.9)
    assert [Path(answer["image"]).name for answer in found] == ["a.PNG", "b.png", "c.bmp"]
    with AnytimeClassifier.load(small_bundle.path, threads=1) as classifier:
        for answer in found:
            [expected] = classifier.classify(answer["image"], Confidence(0.9))
            assert answer["label"] == expected.label == CLASSES[answer["index"]]
            assert answer["exit"] == expected.exit
            assert answer["probability"] == pytest.approx(expected.probability)
            assert 0 < answer["milliseconds"] < 1e4
            assert min(answer["decode_ms"], answer["prepare_ms"]) > 0
            steps = answer["decode_ms"] + answer["prepare_ms"] + answer["milliseconds"]
            assert answer["total_ms"] == pytest.approx(steps, abs=0.002)


def test_the_table_names_images_and_closes_with_the_shares(small_bundle: Bundle, images: Path) -> None:
    result = run(small_bundle.path, images / "b.png", "--exit", 2)
    assert result.exit_code == 0, result.output
    assert "1 image, mean ms: decode " in result.stdout
    for column in ("decode", "prepare", "network", "total"):
        assert column in result.stdout.splitlines()[1]
    assert "exit 1 0.0 %, exit 2 100.0 %, exit 3 0.0 %" in result.stdout.replace("\n", " ")


def test_under_a_deadline_programs_are_told_which_answers_came_late(small_bundle: Bundle, images: Path) -> None:
    for ms, late in ((1e-6, True), (1e6, False)):
        result = run(small_bundle.path, images, "--deadline-ms", ms, "--json")
        found = [json.loads(line) for line in result.stdout.splitlines()]
        assert [answer["late"] for answer in found] == [late] * 3
        assert f"{3 * late} of 3 answers came late" in result.stderr
        assert f"{3 * late} of 3 answers came late" in run(small_bundle.path, images, "--deadline-ms", ms).stdout
    assert "late" not in answers(small_bundle.path, images)[0]


def test_an_operating_point_may_be_a_deadline(own_bundle: Path, images: Path) -> None:
    points = json.loads((own_bundle / "policies.json").read_text())
    quick = {**points["points"][-1], "name": "quick", "policy": "deadline", "parameters": {"ms": 1e6}}
    points["points"].append(quick)
    replace_file(Bundle.open(own_bundle), "policies.json", json.dumps(points).encode())
    assert [answer["late"] for answer in answers(own_bundle, images, "--policy", "quick")] == [False] * 3
    assert "deadline 1e+06 ms: 0 of 3 answers came late" in run(own_bundle, images, "--policy", "quick").stdout


def test_a_bundle_of_one_layout_answers_what_it_can(small_bundle: Bundle, images: Path, tmp_path: Path) -> None:
    graphs = small_bundle.manifest.graphs
    segments = write_small_bundle(tmp_path / "segments", graphs={"segments": graphs["segments"]}).path
    prefixes = write_small_bundle(tmp_path / "prefixes", graphs={"prefixes": graphs["prefixes"]}).path
    for options in (("--exit", 2), ()):
        expected = [(answer["label"], answer["exit"]) for answer in answers(small_bundle.path, images, *options)]
        for path in (segments, prefixes):
            assert [(answer["label"], answer["exit"]) for answer in answers(path, images, *options)] == expected
    assert "has no segments, only prefixes" in str(run(prefixes, images, "--threshold", 0.9).exception)
    for stop in ((), ("--exit", 2)):
        refused = run(prefixes, images, *stop, "--on-failure", "degrade").exception
        assert "on_failure 'degrade': an earlier exit can answer in layout 'segments' only" in str(refused)


def test_a_table_cuts_nothing_and_folds_no_name(small_bundle: Bundle, tmp_path: Path) -> None:
    image = tmp_path / ("a-rather-long-name-" * 6 + ".png")
    Image.new("RGB", (8, 8)).save(image)
    app = typer.Typer()
    app.command()(classify)
    shown = CliRunner(env={"COLUMNS": "60"}).invoke(app, [str(small_bundle.path), str(image), "--threads", "1"]).stdout
    assert "…" not in shown
    assert "probability" in shown
    cells = [line.split("│")[1].strip() for line in shown.splitlines() if "│" in line]
    assert cells == [str(image)]


@pytest.mark.parametrize(
    ("options", "exits"),
    [
        ([], {3}),
        (["--exit", 1], {1}),
        (["--exit", 3], {3}),
        (["--policy", "full"], {3}),
        (["--threshold", 0], {1}),
        (["--deadline-ms", 1e-6], {1}),
        (["--deadline-ms", 1e6], {3}),
        (["--deadline-ms", 1e6, "--exit", 2], {2}),
        (["--deadline-ms", 1e6, "--threshold", 0], {1}),
    ],
)
def test_options_decide_where_it_stops(small_bundle: Bundle, images: Path, options: list[Any], exits: set[int]) -> None:
    assert {answer["exit"] for answer in answers(small_bundle.path, images, *options)} == exits


def test_a_file_that_is_no_image_is_named_and_the_others_are_answered(small_bundle: Bundle, images: Path) -> None:
    broken = images / "broken.png"
    broken.write_text("no image")
    result = run(small_bundle.path, images, images / "missing.png")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"error: {broken}: is not an image that Pillow can read",
        f"error: {images / 'missing.png'}: no such file",
    ]
    assert "3 images" in result.stdout


def test_programs_are_told_of_failures_too(small_bundle: Bundle, images: Path) -> None:
    broken = images / "broken.png"
    broken.write_text("no image")
    result = run(small_bundle.path, broken, images / "b.png", "--json")
    assert result.exit_code == 1
    failure, answer = map(json.loads, result.stdout.splitlines())
    assert failure == {"image": str(broken), "error": f"{broken}: is not an image that Pillow can read"}
    assert answer["image"] == str(images / "b.png")


@pytest.mark.parametrize(
    ("options", "error", "problem"),
    [
        (["--threshold", 0.5, "--exit", 1], UsageError, "`policy`, `threshold` and `exit` exclude each other"),
        (["--threshold", 90], UsageError, "confidence: threshold must be from 0 to 1, not 90"),
        (["--exit", 4], UsageError, "exit: 4 asked for; this network has exits 1 to 3"),
        (["--exit", 0], UsageError, "exit: counts from 1"),
        (["--policy", "quick"], UsageError, "unknown operating point 'quick'"),
        (["--backend", "tensorrt11"], UsageError, "unknown backend"),
    ],
)
def test_options_that_cannot_be_used_are_named(
    small_bundle: Bundle,
    images: Path,
    options: list[Any],
    error: type[Exception],
    problem: str,
) -> None:
    result = run(small_bundle.path, images, *options)
    assert isinstance(result.exception, error)
    assert problem in str(result.exception)


def test_a_folder_without_images_is_named(small_bundle: Bundle, tmp_path: Path) -> None:
    result = run(small_bundle.path, tmp_path)
    assert isinstance(result.exception, DataError)
    assert f"{tmp_path}: has no images" in str(result.exception)


def test_a_bundle_that_is_none_is_named(images: Path) -> None:
    result = run(images, images)
    assert isinstance(result.exception, BundleError)
    assert "not a bundle" in str(result.exception)


@pytest.fixture
def failing_bundle(own_bundle: Path) -> Path:
    """A bundle, as its maker wrote it, whose last segment gives logits of another shape than the manifest says."""
    onnx = pytest.importorskip("onnx")
    path = own_bundle / "onnx" / "segment_3.onnx"
    model = onnx.load(path)
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(onnx.helper.make_node("Flatten", ["before"], ["logits_3"], axis=2))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    path.write_bytes(model.SerializeToString())
    manifest = json.loads((own_bundle / "bundle.json").read_text())
    manifest["files"]["onnx/segment_3.onnx"] = {"sha256": files.sha256(path), "bytes": path.stat().st_size}
    (own_bundle / "bundle.json").write_text(json.dumps(manifest))
    return own_bundle


def test_an_earlier_exit_answers_where_that_is_allowed(failing_bundle: Path, images: Path) -> None:
    image = images / "b.png"
    assert isinstance(run(failing_bundle, image).exception, BundleError)
    other = run(failing_bundle, image, "--on-failure", "other").exception
    assert "on_failure: must be 'raise' or 'degrade', not 'other'" in str(other)
    [found] = answers(failing_bundle, image, "--on-failure", "degrade")
    assert (found["exit"], found["degraded"]) == (2, True)
    assert found["label"] in CLASSES
    shown = run(failing_bundle, image, "--on-failure", "degrade")
    assert "warning: 1 answer came from an earlier exit, as a later one failed" in shown.output
    assert "degraded" not in answers(failing_bundle, image, "--on-failure", "degrade", "--exit", 2)[0]
