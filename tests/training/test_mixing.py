"""Training with exits that mix in earlier ones: figures, checkpoints and what is kept."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from exit_outputs import SETTING
from processors import native_bf16
from rich.console import Console

from edgemate.config import parse_recipe
from edgemate.distillation.methods.boosted import Boosted
from edgemate.errors import RecipeError, RunError
from edgemate.evaluation import trained_model
from edgemate.models import mean_mixing, softmax_mixing
from edgemate.runs import Run, read_tensors, write_tensors
from edgemate.training import callbacks, check_recipe, train
from recipes import small_recipe

LEARNED = ("exits.ensemble=learned", "optimization.epochs=2")


def trained(path: Path, *overrides: str, resume: bool = False) -> Run:
    return train(small_recipe(*overrides), path, resume=resume, console=Console(file=io.StringIO()))


def mixing(run: Run) -> torch.Tensor:
    return read_tensors(run.model_path)["mixing"]


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory.mktemp("runs") / "learned", *LEARNED)


def test_a_learned_ensemble_is_stored_and_used_in_every_figure(learned: Run) -> None:
    scores = read_tensors(learned.method_path)["scores"]
    torch.testing.assert_close(mixing(learned), softmax_mixing(scores))
    assert not torch.allclose(mixing(learned), softmax_mixing(0.5 * torch.eye(3)))  # where it started
    model = trained_model(learned)
    images, _ = learned.read_golden()
    test = learned.read_logits("test")
    chosen = np.linspace(0, len(test.labels) - 1, len(images)).astype(int)
    with torch.no_grad():
        ensembled, raw_logits = model(torch.from_numpy(images)), model.outputs(torch.from_numpy(images)).logits
    np.testing.assert_allclose(ensembled, test.logits[chosen], atol=1e-4)
    assert not torch.allclose(ensembled[:, 1:], raw_logits[:, 1:], atol=1e-2)
    shown = list(csv.DictReader(learned.history_path.read_text().splitlines()))[-1]
    accuracy = learned.read_metrics()["accuracy"]["calibration"]["exits"]
    np.testing.assert_allclose([float(shown[f"calibration/exit{k}"]) for k in (1, 2, 3)], accuracy, atol=1e-5)


class Killed(BaseException):
    """Simulates a power cut."""


def test_resuming_ends_with_the_same_logits(learned: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = callbacks.SeedEveryEpoch.on_train_epoch_start

    def on_train_epoch_start(self: callbacks.SeedEveryEpoch, trainer: object, module: object) -> None:
        seed(self, trainer, module)  # type: ignore[arg-type]
        if trainer.current_epoch == 1:  # type: ignore[attr-defined]
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.SeedEveryEpoch, "on_train_epoch_start", on_train_epoch_start)
        with pytest.raises(Killed):
            trained(tmp_path / "cut", *LEARNED)
    cut = trained(tmp_path / "cut", *LEARNED, resume=True)
    whole, resumed = read_tensors(learned.model_path), read_tensors(cut.model_path)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert cut.read_metrics()["accuracy"] == learned.read_metrics()["accuracy"]


def test_averaged_weights_answer_with_the_averaged_ensemble(tmp_path: Path) -> None:
    run = trained(tmp_path / "ema", *LEARNED, "optimization.ema=0.9")
    torch.testing.assert_close(mixing(run), softmax_mixing(read_tensors(run.method_path)["scores"]))
    shown = list(csv.DictReader(run.history_path.read_text().splitlines()))[-1]
    accuracy = run.read_metrics()["accuracy"]["calibration"]["exits"]
    np.testing.assert_allclose([float(shown[f"calibration/exit{k}"]) for k in (1, 2, 3)], accuracy, atol=1e-5)


def test_the_best_epoch_keeps_the_ensemble_that_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.9, 0.1])
    monkeypatch.setattr("edgemate.training.tally.Tally.accuracies", lambda self: {"mean": next(scores, 0.0)})
    monkeypatch.setattr("edgemate.training.task.MultiExitTask.epoch_metrics", lambda self: {"calibration/exit1": 0.0})
    run = trained(tmp_path / "best", *LEARNED, "training.weights=best")
    assert run.read_metrics()["kept_epoch"] == 1
    last = softmax_mixing(read_tensors(run.method_path)["scores"])
    assert not torch.allclose(mixing(run), last, atol=1e-4)
    model = trained_model(run)
    images, _ = run.read_golden()
    test = run.read_logits("test")
    chosen = np.linspace(0, len(test.labels) - 1, len(images)).astype(int)
    with torch.no_grad():
        np.testing.assert_allclose(model(torch.from_numpy(images)), test.logits[chosen], atol=1e-4)


@native_bf16
@pytest.mark.parametrize(
    ("overrides", "weights"),
    [
        (["exits.ensemble=mean", "distillation.method=joint_ce"], mean_mixing(3)),
        (["distillation.method=boosted", "distillation.options.weight=0.25"], Boosted(SETTING, weight=0.25).mixing()),
    ],
    ids=["mean", "boosted"],
)
def test_the_mean_and_boosted_sums_are_stored_with_the_weights(
    tmp_path: Path, overrides: list[str], weights: torch.Tensor
) -> None:
    run = trained(tmp_path / "run", *overrides, "optimization.epochs=1", "training.precision=bf16")
    torch.testing.assert_close(mixing(run), weights)
    assert trained_model(run).mixing is not None
    assert not run.method_path.exists()


def test_without_an_ensemble_the_weights_are_those_of_before(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", "optimization.epochs=1")
    assert "mixing" not in read_tensors(run.model_path)
    assert trained_model(run).mixing is None


def test_weights_that_cannot_be_a_mixing_are_refused(learned: Run, tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(learned.path, tmp_path / "run")))
    write_tensors(run.model_path, {**read_tensors(run.model_path), "mixing": torch.ones(3, 3)})
    with pytest.raises(RunError, match=r"model\.safetensors: not the weights .* cannot use a later one"):
        trained_model(run)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["exits.ensemble=learned", "distillation.method=joint_ce"], "exits.ensemble: learned is for a method that"),
        (["exits.ensemble=learned", "distillation.options.weights=uniform"], "exits.ensemble: learned is for a method"),
        (["exits.ensemble=mean", "distillation.method=boosted"], "distillation: boosted deploys its own sums"),
        (["exits.ensemble=learned", "distillation.method=boosted"], "distillation: boosted deploys its own sums"),
    ],
)
def test_an_ensemble_that_the_method_does_not_have_is_found_before_anything_starts(
    overrides: list[str], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        check_recipe(small_recipe(*overrides), "small.yaml")


def test_an_unknown_ensemble_names_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"exits\.ensemble.*'none', 'mean' or 'learned'"):
        parse_recipe({**small_recipe().model_dump(), "exits": {"ensemble": "median"}}, "small.yaml")
