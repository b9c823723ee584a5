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

app = typer.Typer()
app.command()(classify)
app.command()(bench)
app()
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


def test_without_onnxruntime_it_imports_and_says_what_is_missing(tmp_path: Path, small_bundle: Bundle) -> None:
    barest = bare_environment.build(tmp_path / "packages", extras=())
    found = bare_environment.run(barest, "import edgemate.runtime; import onnxruntime")
    assert found.stderr.endswith("No module named 'onnxruntime'\n")
    found = bare_environment.run(barest, CLASSIFY, small_bundle.path)
    assert "BackendError: onnxruntime cannot be imported" in found.stderr
    assert found.stderr.endswith("pip install 'edgemate[ort]'\n")
