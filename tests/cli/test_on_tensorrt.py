"""Commands with `--backend tensorrt`, over a fake device: what a device runs, without ONNX Runtime."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import invoke
from fake_cuda import FakeCuda
from fake_engine import fake_tensorrt, install, write_engines
from PIL import Image
from small_network import CLASSES

from edgemate.bundle import Bundle
from edgemate.cli.bench import bench
from edgemate.cli.classify import classify
from edgemate.cli.evaluate import evaluate
from edgemate.cli.serve import serve
from edgemate.errors import BackendError, UsageError
from edgemate.runtime import AnytimeClassifier


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    cuda = FakeCuda()
    install(monkeypatch, cuda, fake_tensorrt(cuda))
    return cuda


@pytest.fixture
def built(small_bundle: Bundle, cuda: FakeCuda, tmp_path: Path) -> Path:
    bundle = Bundle.open(shutil.copytree(small_bundle.path, tmp_path / "built"))
    write_engines(bundle, ("segments", "prefixes"), fake_tensorrt(cuda), "1:1:8")
    return bundle.path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    return tmp_path / "image.png"


@pytest.fixture
def labeled(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (16, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "labeled.npz", x_test=images, y_test=random.integers(0, len(CLASSES), 16))
    return tmp_path / "labeled.npz"


@pytest.mark.parametrize(("option", "exit"), [("--threshold=0", 1), ("--exit=2", 2), ("--policy=full", 3)])
def test_images_are_classified_and_the_device_is_left_empty(
    built: Path, cuda: FakeCuda, image: Path, option: str, exit: int
) -> None:
    result = invoke(classify, built, image, option, "--backend", "tensorrt", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["exit"] == exit
    assert answer["label"] in CLASSES
    assert not cuda.held()


def test_every_exit_is_timed(built: Path, cuda: FakeCuda) -> None:
    result = invoke(bench, built, "--backend", "tensorrt", "--repeats", 3, "--warmup", 1, "--batch", 8, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [row["exit"] for row in report["exits"]] == [1, 2, 3]
    assert report["backend"]["cuda graphs"] == "on"
    assert not cuda.held()


def test_no_more_images_than_the_engines_take_are_served(
    built: Path, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aiohttp")
    from edgemate.serving.model import ServedModel

    write_engines(Bundle.open(built), ("segments",), fake_tensorrt(cuda), "1:1:4")
    served: list[int] = []

    def note(classifier: AnytimeClassifier, options: Any, **_: Any) -> None:
        served.append(ServedModel(classifier, options).max_batch)

    monkeypatch.setattr("edgemate.serving.serve", note)
    for given in ((), ("--max-batch", 3)):
        assert invoke(serve, built, "--backend", "tensorrt", *given).exit_code == 0
    error = invoke(serve, built, "--backend", "tensorrt", "--max-batch", 5).exception
    assert isinstance(error, UsageError)
    assert "max_batch 5: the engines take at most 4 images; edgemate build" in str(error)
    assert served == [4, 3]
    assert not cuda.held()


def test_a_batch_that_the_engines_do_not_take_is_not_timed(built: Path, cuda: FakeCuda, labeled: Path) -> None:
    said = f"batch 9: the engines take at most 8 images; edgemate build {built} --batch 1:1:9 builds others"
    for command in ((bench, built), (evaluate, built, "--data", labeled)):
        result = invoke(*command, "--backend", "tensorrt", "--batch", 9)
        assert isinstance(result.exception, UsageError)
        assert str(result.exception) == said
        assert not cuda.held()


@pytest.mark.parametrize(("batch", "sizes"), [("1:1:8", [1, 8]), ("1:4:32", [1, 16]), ("1", [1])])
def test_without_a_batch_evaluate_takes_what_the_engines_do(
    built: Path, cuda: FakeCuda, labeled: Path, batch: str, sizes: list[int]
) -> None:
    trt = fake_tensorrt(cuda)
    write_engines(Bundle.open(built), ("segments",), trt, batch)
    result = invoke(evaluate, built, "--backend", "tensorrt", "--data", labeled, "--policy", "full", "--json")
    assert result.exit_code == 0, result.output
    [point] = json.loads(result.stdout)["points"]
    assert [found["batch"] for found in point["measured"]] == sizes


def test_a_bundle_without_engines_says_what_builds_them(small_bundle: Bundle, cuda: FakeCuda, image: Path) -> None:
    result = invoke(classify, small_bundle.path, image, "--backend", "tensorrt")
    assert isinstance(result.exception, BackendError)
    assert f"build them here: edgemate build {small_bundle.path}" in str(result.exception)
