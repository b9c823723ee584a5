"""The device side where torch, torchvision and onnx are not installed."""

from __future__ import annotations

import json
from pathlib import Path

import bare_environment
import numpy as np
import pytest
from PIL import Image

from edgemate.bundle import Bundle

CLASSIFY = """
import json
from edgemate.policies import Confidence
from edgemate.runtime import AnytimeClassifier

with AnytimeClassifier.load(sys.argv[1], threads=1) as classifier:
    golden = classifier.bundle.golden()
    answers = classifier.classify(golden.images, Confidence(0.9))
    streamed = [answer.index for answer in classifier.stream(golden.images[0])]
    print(json.dumps([[answer.exit for answer in answers], streamed]))
"""

COMMANDS = """
import typer
from edgemate.cli.bench import bench
from edgemate.cli.classify import classify
from edgemate.cli.profile import profile

app = typer.Typer()
app.command()(classify)
app.command()(bench)
app.command()(profile)
app()
"""


VERBS = """
import json
import edgemate
from edgemate.errors import BackendError

bundle, images, data = sys.argv[1:]
found = {
    "calibrate": edgemate.calibrate(bundle, max_accuracy_drop=50).points.names(),
    "evaluate": edgemate.evaluate(bundle, ["full"], data=data, threads=1).images,
    "bench": len(edgemate.bench(bundle, repeats=2, warmup=1, threads=1).exits),
    "classify": len(edgemate.classify(bundle, images, "balanced", threads=1).predictions),
    "inspect": edgemate.inspect(bundle).manifest.name,
    "run": edgemate.run(bundle, images, "balanced", threads=1, still=0.1).answered,
}
with edgemate.load(bundle, threads=1) as classifier:
    found["load"] = len(classifier.classify(classifier.bundle.golden().images))
try:
    edgemate.build(bundle)
except BackendError as error:
    found["build"] = str(error)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxruntime")
    return bare_environment.build(tmp_path_factory.mktemp("bare") / "packages")


@pytest.mark.parametrize("module", ["torch", "torchvision", "onnx", "lightning", "pytest"])
def test_the_environment_is_bare(bare: Path, module: str) -> None:
    found = bare_environment.run(bare, f"import {module}")
    assert found.returncode == 1
    assert "ModuleNotFoundError" in found.stderr


def test_a_bundle_is_loaded_and_classifies(bare: Path, small_bundle: Bundle) -> None:
    found = bare_environment.run(bare, CLASSIFY, small_bundle.path)
    assert found.stderr == ""
    exits, streamed = json.loads(found.stdout)
    assert set(exits) == {1, 2, 3}
    assert streamed == small_bundle.golden().logits[0].argmax(axis=1).tolist()


def test_the_commands_work(bare: Path, small_bundle: Bundle, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "black.png")
    options = ("--threads", "1")
    found = bare_environment.run(
        bare, COMMANDS, "classify", small_bundle.path, tmp_path, "--threshold", "0.9", "--json", *options
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert json.loads(found.stdout)["exit"] in (1, 2, 3)
    found = bare_environment.run(bare, COMMANDS, "bench", small_bundle.path, "--repeats", "3", *options)
    assert (found.returncode, found.stderr) == (0, "")


def test_a_bundle_is_profiled_and_compared(bare: Path, small_bundle: Bundle, tmp_path: Path) -> None:
    options = (small_bundle.path, "--repeats", "3", "--threads", "1", "--quiet", "--output", tmp_path / "profile")
    found = bare_environment.run(bare, COMMANDS, "profile", *options)
    assert (found.returncode, found.stderr) == (0, "")
    assert "no curves.png and curves.svg: matplotlib is not installed" in found.stdout
    assert "no report.html: bokeh is not installed" in found.stdout
    written = json.loads((tmp_path / "profile" / "profile.json").read_text())
    assert written["split"] == "calibration"
    loose = ("--compare", tmp_path / "profile" / "profile.json", "--tolerance", "10000%")
    found = bare_environment.run(bare, COMMANDS, "profile", *options, *loose)
    assert (found.returncode, found.stderr) == (0, "")
    assert "0 worse" in found.stdout


def test_the_functions_of_the_device_work(bare: Path, own_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "images" / "black.png")
    np.savez(tmp_path / "data.npz", x_test=np.zeros((3, 8, 8, 3), np.uint8), y_test=np.zeros(3, np.int64))
    found = bare_environment.run(bare, VERBS, own_bundle, tmp_path / "images", tmp_path / "data.npz")
    assert found.stderr == ""
    told = json.loads(found.stdout)
    assert "TensorRT" in told.pop("build")
    assert told == {
        "calibrate": ["fast", "balanced", "accurate", "full", "drop"],
        "evaluate": 3,
        "bench": 3,
        "classify": 1,
        "inspect": Bundle.open(own_bundle).manifest.name,
        "load": 24,
        "run": 1,
    }


def test_without_onnxruntime_it_imports_and_says_what_is_missing(tmp_path: Path, small_bundle: Bundle) -> None:
    barest = bare_environment.build(tmp_path / "packages", extras=())
    found = bare_environment.run(barest, "import edgemate.runtime; import onnxruntime")
    assert found.stderr.endswith("No module named 'onnxruntime'\n")
    found = bare_environment.run(barest, CLASSIFY, small_bundle.path)
    assert "BackendError: onnxruntime cannot be imported" in found.stderr
    assert found.stderr.endswith("pip install 'edgemate[ort]'\n")
