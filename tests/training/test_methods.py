"""Runs of methods that are more than a function of what the exits say."""

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

from edgemate.errors import RecipeError
from edgemate.runs import Run, read_tensors
from edgemate.training import callbacks, train
from recipes import small_recipe


class Killed(BaseException):
    """Simulates a power cut: nothing may catch it and tidy up."""


def cut_off_in_epoch(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    seed = callbacks.SeedEveryEpoch.on_train_epoch_start

    def on_train_epoch_start(self: callbacks.SeedEveryEpoch, trainer: object, module: object) -> None:
        seed(self, trainer, module)  # type: ignore[arg-type]
        if trainer.current_epoch == epoch:  # type: ignore[attr-defined]
            raise Killed

    monkeypatch.setattr(callbacks.SeedEveryEpoch, "on_train_epoch_start", on_train_epoch_start)


def weights_of(run: Run) -> dict[str, torch.Tensor]:
    own = read_tensors(run.method_path)
    return read_tensors(run.model_path) | {f"method.{name}": value for name, value in own.items()}


@pytest.mark.parametrize(
    "overrides",
    [
        ["distillation.method=safe_kd", "optimization.ema=0.9"],
        ["distillation.method=loth"],
        ["distillation.methods=[{mate: {attention: true, ramp_up: 0.5}}, {eed: {logits: kl}}, gradient_equilibrium]"],
    ],
    ids=["safe_kd", "loth", "combined"],
)
def test_an_interrupted_run_ends_as_an_uninterrupted_one_in_what_the_method_owns_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    recipe = small_recipe("data.train_limit=256", *overrides)
    console = Console(file=io.StringIO(), width=200)
    whole = train(recipe, tmp_path / "whole", console=console)
    with monkeypatch.context() as patch:
        cut_off_in_epoch(patch, 2)
        with pytest.raises(Killed):
            train(recipe, tmp_path / "cut", console=console)
    cut = train(recipe, tmp_path / "cut", resume=True, console=console)
    ours, theirs = weights_of(cut), weights_of(whole)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
    assert cut.read_metrics()["method"] == whole.read_metrics()["method"]
    assert cut.read_recipe() == recipe


def test_the_averaged_network_is_stored_with_the_method_and_differs_from_the_network(tmp_path: Path) -> None:
    recipe = small_recipe("data.train_limit=128", "optimization.epochs=1", "distillation.method=safe_kd")
    run = train(recipe, tmp_path / "run", console=Console(file=io.StringIO()))
    model, own = read_tensors(run.model_path), read_tensors(run.method_path)
    assert own.keys() == {"steps", *(f"average.{name}" for name in model)}
    assert own["steps"] == 4
    assert not torch.equal(own["average.heads.0.classifier.weight"], model["heads.0.classifier.weight"])


def test_a_method_without_a_loss_is_refused_before_any_data_is_read(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="distillation: gradient_equilibrium has no loss of its own"):
        train(small_recipe("distillation.method=gradient_equilibrium"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
