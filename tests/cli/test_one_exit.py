"""A network with its last exit only, a plain classifier as teacher or reference, through every command."""

from __future__ import annotations

import io
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import invoke
from PIL import Image
from rich.console import Console

from edgemate.cli.classify import classify
from edgemate.cli.export import export
from edgemate.cli.profile import profile
from edgemate.data import PreparedData
from edgemate.errors import ExportError, UsageError
from edgemate.evaluation import trained_model
from edgemate.runs import Run
from edgemate.training import train
from edgemate.training.trainer import prepare_data
from recipes import small_recipe

ONE = ("exits.at=[stage3]", "data.train_limit=192", "optimization.epochs=1")


def trained(path: Path, *overrides: str) -> Run:
    return train(small_recipe(*ONE, *overrides), path, console=Console(file=io.StringIO()))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory.mktemp("runs") / "one", "distillation.method=joint_ce")


@pytest.fixture(scope="module")
def data() -> PreparedData:
    return prepare_data(small_recipe(*ONE))


def test_it_is_trained_with_one_exit(run: Run) -> None:
    assert run.read_metadata().cuts == ("stage3",)
    assert len(run.read_metrics()["accuracy"]["test"]["exits"]) == 1


def test_its_profile_has_one_row(run: Run) -> None:
    result = invoke(profile, run.path, "--repeats", 3, "--images", 8)
    assert result.exception is None, result.output
    assert len(json.loads(run.profile_path.read_text())["exits"]) == 1


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs onnxruntime")
def test_what_it_is_exported_to_says_what_it_says(run: Run, data: PreparedData, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    result = invoke(export, run.path, "--output", bundle)
    assert result.exception is None, result.output
    images = data.source.test.array
    assert images is not None
    for i in range(4):
        Image.fromarray(images[i, :, :, 0]).save(tmp_path / f"{i}.png")
    result = invoke(classify, bundle, tmp_path, "--json", "--threshold", 0.9)
    answers: list[dict[str, Any]] = [json.loads(line) for line in result.stdout.splitlines()]
    with torch.no_grad():
        said = trained_model(run)(next(iter(data.test_loader()))[0][:4])[:, 0].softmax(-1)
    order = [int(i) for i in data.splits.test[:4]]
    assert order == [0, 1, 2, 3]
    assert [answer["exit"] for answer in answers] == [1] * 4
    assert [answer["index"] for answer in answers] == said.argmax(-1).tolist()
    assert [answer["probability"] for answer in answers] == pytest.approx(said.amax(-1).tolist(), abs=1e-4)


def test_there_is_nothing_to_choose_between(run: Run, tmp_path: Path) -> None:
    result = invoke(export, run.path, "--output", tmp_path / "bundle", "--layouts", "conditional")
    assert isinstance(result.exception, (ExportError, UsageError))
    assert "one exit" in str(result.exception)


@pytest.mark.parametrize("method", ["mate", "kd"])
def test_it_learns_by_itself_and_from_another(run: Run, tmp_path: Path, method: str) -> None:
    teacher = [f"distillation.teacher={run.path}"] if method == "kd" else []
    assert trained(tmp_path / method, f"distillation.method={method}", *teacher).finished
