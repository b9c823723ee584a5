"""`classify` and `bench` with `--backend tensorrt`, over a fake device: what a device runs, without ONNX Runtime."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

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
from edgemate.errors import BackendError


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
    result = invoke(bench, built, "--backend", "tensorrt", "--repeats", 3, "--warmup", 1, "--batch", 20, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [row["exit"] for row in report["exits"]] == [1, 2, 3]
    assert report["backend"]["cuda graphs"] == "on"
    assert not cuda.held()


def test_a_bundle_without_engines_says_what_builds_them(small_bundle: Bundle, cuda: FakeCuda, image: Path) -> None:
    result = invoke(classify, small_bundle.path, image, "--backend", "tensorrt")
    assert isinstance(result.exception, BackendError)
    assert f"build them here: edgemate build {small_bundle.path}" in str(result.exception)
