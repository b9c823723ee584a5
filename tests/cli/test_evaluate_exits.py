"""`edgemate evaluate`: every exit, in all and by class, of a bundle and of a run."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from commands import invoke
from small_network import CLASSES

from edgemate.bundle import Bundle
from edgemate.cli.class_tables import SHOWN, print_exits
from edgemate.cli.evaluate import evaluate
from edgemate.core.class_report import ClassReport
from edgemate.core.scoring import confusion_matrices, exit_accuracy
from edgemate.errors import UsageError
from edgemate.runs import Run, RunMetadata
from edgemate.runtime import AnytimeClassifier
from recipes import small_recipe

needs_runtime = pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs onnxruntime")
NAMES = ("a", "b", "c", "d", "e", "f", "g")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run's recipe, metadata and logits, of 40 images of 6 of its 7 classes at 2 exits."""
    random = np.random.default_rng(0)
    made = Run.create(tmp_path / "trained")
    made.write_recipe(small_recipe())
    pixels = {"channels": 1, "height": 8, "width": 8, "resize": None, "center_crop": None, "mean": [0.0], "std": [1.0]}
    made.write_metadata(RunMetadata("digits", pixels, NAMES, ("stage1", "stage3"), {"test": 40}))
    made.write_metrics({})
    for split in ("calibration", "test"):
        logits = random.standard_normal((40, 2, 7)).astype(np.float32)
        made.write_logits(split, logits, np.arange(40) % 6)  # type: ignore[arg-type]
    for file in (made.model_path, made.golden_path):
        file.touch()
    return made


@pytest.mark.parametrize("split", ["test", "calibration"])
def test_a_run_is_evaluated_by_its_stored_logits(run: Run, split: str) -> None:
    result = invoke(evaluate, run.path, "--split", split, "--json", "--confusion")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    logits, labels = run.read_logits(split)  # type: ignore[arg-type]
    assert (report["run"], report["split"], report["cuts"]) == ("trained", split, ["stage1", "stage3"])
    assert report["images"] == 40
    assert list(report["class_images"].values()) == [7, 7, 7, 7, 6, 6, 0]
    matrices, accuracy = confusion_matrices(logits, labels), exit_accuracy(logits, labels)
    for k, found in enumerate(report["exits"]):
        assert found["exit"] == k + 1
        assert found["confusion"] == matrices[k].tolist()
        assert found["top1"] == pytest.approx(accuracy[k])
        assert found["top1"] <= found["top5"] <= 1
        assert found["class_accuracy"]["b"] == pytest.approx(matrices[k, 1, 1] / 7)
        assert found["class_accuracy"]["g"] is None
    assert "confusion" not in json.loads(invoke(evaluate, run.path, "--json").stdout)["exits"][0]


def test_tables_have_the_worst_class_first_and_the_matrix_on_demand(run: Run) -> None:
    shown = invoke(evaluate, run.path).stdout
    assert "trained, test split: every exit on 40 images" in shown
    assert "top-5" in shown
    assert "worst first" not in shown
    report = ClassReport.of(*run.read_logits("test"), NAMES)
    for exit, name in ((1, "1 stage1"), (2, "2 stage3")):
        shown = invoke(evaluate, run.path, "--per-class").stdout.split(f"exit {name}: classes, worst first")[1]
        rows = [line.split("│")[1].strip() for line in shown.splitlines() if line.startswith("│")][:6]
        assert rows == [NAMES[i] for i in report.worst_first(exit)]
    assert "images by class (row) and answer (column)" in invoke(evaluate, run.path, "--confusion").stdout


def test_many_classes_are_listed_from_the_worst_on(capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    names = [f"class{i}" for i in range(3 * SHOWN)]
    labels = np.arange(6 * SHOWN) % len(names)
    report = ClassReport.of(random.standard_normal((len(labels), 1, len(names))).astype(np.float32), labels, names)
    print_exits(report, {}, per_class=True, confusion=True)
    shown = capsys.readouterr().out
    assert f"and {2 * SHOWN} classes more; --json has all" in shown
    assert "most frequent confusions" in shown
    assert f"and {len(report.confusions(1)) - SHOWN} confusions more" in shown


def test_top_5_is_left_out_where_it_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    logits = np.eye(5, dtype=np.float32)[:, None]
    report = ClassReport.of(logits, np.arange(5), tuple("abcde"))
    print_exits(report, {}, per_class=False, confusion=False)
    assert "top-5" not in capsys.readouterr().out
    assert "top5" not in report.to_json()["exits"][0]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--policy", "balanced"), "`policies`: a run is evaluated by its stored logits; export it"),
        (("--data", "x"), "`data`: a run is evaluated by its stored logits"),
        (("--images", 5), "`images`: a run is"),
        (("--batch", 4), "`batch`: a run is"),
        (("--backend", "tensorrt"), "`backend`: a run is"),
        (("--split", "train"), "split 'train': "),
        (("--split", "target_test"), "has calibration, test"),
    ],
)
def test_what_is_not_for_runs_is_refused(run: Run, options: tuple[object, ...], problem: str) -> None:
    result = invoke(evaluate, run.path, *options)
    assert isinstance(result.exception, UsageError)
    assert problem in str(result.exception)
    assert "\n" not in str(result.exception)


@needs_runtime
def test_a_bundles_exits_are_those_of_its_graphs(own_bundle: Path, tmp_path: Path) -> None:
    golden = Bundle.open(own_bundle).golden()
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    labels = random.integers(0, len(CLASSES), 40)
    np.savez(tmp_path / "images.npz", x_test=images, y_test=labels)
    options = ("--data", tmp_path / "images.npz", "--threads", 1, "--policy", "fast", "--batch", 7)
    report = json.loads(invoke(evaluate, own_bundle, *options, "--json", "--confusion").stdout)
    assert report["images"] == 40
    assert len(report["exits"]) == golden.logits.shape[1]
    with AnytimeClassifier.load(own_bundle, threads=1) as classifier:
        streams = [[answer.index for answer in classifier.stream(image)] for image in images]
    for k, found in enumerate(report["exits"]):
        named = np.array([stream[k] for stream in streams])
        assert found["top1"] == pytest.approx(np.mean(named == labels))
        expected = np.zeros((len(CLASSES), len(CLASSES)), int)
        np.add.at(expected, (labels, named), 1)
        assert found["confusion"] == expected.tolist()
    shown = invoke(evaluate, own_bundle, *options, "--per-class").stdout
    assert "every exit on 40 images" in shown
    assert "exit 3: classes, worst first" in shown


@needs_runtime
def test_classes_need_labels_and_splits_a_run(own_bundle: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", x_test=np.zeros((3, 8, 8, 3), np.uint8))
    options = ("--data", tmp_path / "images.npz", "--threads", 1, "--policy", "fast")
    result = invoke(evaluate, own_bundle, *options, "--per-class")
    assert "there are no labels" in str(result.exception)
    result = invoke(evaluate, own_bundle, *options, "--confusion", "--json")
    assert "there are no labels" in str(result.exception)
    assert "exits" not in json.loads(invoke(evaluate, own_bundle, *options, "--json").stdout)
    assert "`split`: for runs only" in str(invoke(evaluate, own_bundle, "--split", "test").exception)
