from __future__ import annotations

import csv
import io
import math
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console

import edgemate
from edgemate.errors import RunError
from edgemate.runs import Run, read_tensors
from edgemate.training import train
from edgemate.training.callbacks import SeedEveryEpoch
from edgemate.training.run_place import check_run_place
from recipes import small_recipe


class Killed(BaseException):
    """Simulates a power cut."""


def screen() -> Console:
    return Console(file=io.StringIO(), width=300)


def history(run: Run) -> list[dict[str, str]]:
    return list(csv.DictReader(run.history_path.read_text().splitlines()))


def kill_in_epoch(patch: pytest.MonkeyPatch, epoch: int) -> None:
    seed = SeedEveryEpoch.on_train_epoch_start

    def on_train_epoch_start(self: SeedEveryEpoch, trainer: object, module: object) -> None:
        seed(self, trainer, module)  # type: ignore[arg-type]
        if trainer.current_epoch == epoch:  # type: ignore[attr-defined]
            raise Killed

    patch.setattr(SeedEveryEpoch, "on_train_epoch_start", on_train_epoch_start)


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(small_recipe("optimization.epochs=2"), tmp_path_factory.mktemp("runs") / "small", console=screen())


@pytest.fixture
def finished(two_epochs: Run, tmp_path: Path) -> Run:
    return Run(Path(shutil.copytree(two_epochs.path, tmp_path / "small")))


def test_a_finished_run_resumes_with_more_epochs(finished: Run) -> None:
    old = finished.read_metrics()
    finished.profile_path.write_text("{}")
    console = screen()
    run = train(small_recipe("optimization.epochs=4"), finished.path, resume=True, console=console)
    assert run.finished
    assert run.read_recipe().optimization.epochs == 4
    assert run.read_metrics()["epochs"] == run.read_metrics()["kept_epoch"] == 4 > old["epochs"]
    assert [row["epoch"] for row in history(run)] == ["1", "2", "3", "4"]
    assert not run.profile_path.exists(), "it was of the network that is no more"
    told = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    steps = 2 * 512 // 32
    last, first = (0.05 * (1 + math.cos(math.pi * at)) for at in ((steps - 0.5) / steps, (steps + 0.5) / (2 * steps)))
    expected = (
        f"{finished.path}: resumes after epoch 2 to 4 epochs instead of 2; schedule cosine now spans all "
        f"of them, so the learning rate goes from {last:.3g} to {first:.3g} at epoch 3"
    )
    assert expected in told


def test_with_a_constant_rate_a_longer_run_ends_as_if_begun_so(tmp_path: Path) -> None:
    def recipe(epochs: int) -> tuple[str, ...]:
        return (f"optimization.epochs={epochs}", "optimization.schedule=constant", "distillation.method=joint_ce")

    whole = train(small_recipe(*recipe(3)), tmp_path / "whole", console=screen())
    train(small_recipe(*recipe(2)), tmp_path / "longer", console=screen())
    console = screen()
    longer = train(small_recipe(*recipe(3)), tmp_path / "longer", resume=True, console=console)
    theirs = read_tensors(whole.model_path)
    for name, value in read_tensors(longer.model_path).items():
        assert torch.equal(value, theirs[name]), name
    assert "the learning rate stays 0.1 at epoch 3" in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_schedule_holds_from_the_first_step_on(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.optim import SGD

    rates: list[float] = []
    step = SGD.step

    def recording(self: SGD, *given: object, **named: object) -> object:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(SGD, "step", recording)
    train(small_recipe("optimization.epochs=4"), finished.path, resume=True, console=screen())
    steps = 512 // 32
    assert len(rates) == 2 * steps
    for number, rate in enumerate(rates):
        assert rate == pytest.approx(0.05 * (1 + math.cos(math.pi * (2 * steps + number + 0.5) / (4 * steps))))


def test_killed_while_resumed_it_does_not_look_finished_and_resumes_again(finished: Run) -> None:
    longer = small_recipe("optimization.epochs=4")
    with pytest.MonkeyPatch.context() as patch:
        kill_in_epoch(patch, 2)
        with pytest.raises(Killed):
            train(longer, finished.path, resume=True, console=screen())
    assert not finished.finished
    assert not finished.model_path.exists()
    again = train(longer, finished.path, resume=True, console=screen())
    assert [row["epoch"] for row in history(again)] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("file", ["metrics.json", "logits/test.npz", "model.safetensors"])
def test_killed_while_results_are_deleted_it_does_not_look_finished(
    finished: Run, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def kill(self: Path, missing_ok: bool = False) -> None:
        unlink(self, missing_ok)
        if self == finished.path / file:
            raise Killed

    monkeypatch.setattr(Path, "unlink", kill)
    with pytest.raises(Killed):
        finished.delete_results()
    assert not finished.finished


def test_fewer_epochs_than_there_are_is_one_line(finished: Run) -> None:
    with pytest.raises(RunError) as caught:
        train(small_recipe("optimization.epochs=1"), finished.path, resume=True, console=screen())
    assert str(caught.value) == (
        f"{finished.path}: has 2 epochs already, which is more than optimization.epochs=1; resume with 2 or more"
    )
    assert finished.finished


def test_a_finished_run_without_its_checkpoint_cannot_go_on(finished: Run) -> None:
    (finished.checkpoints_path / "last.ckpt").unlink()
    with pytest.raises(RunError, match=r"its checkpoint .*last\.ckpt is missing; force trains it anew"):
        train(small_recipe("optimization.epochs=4"), finished.path, resume=True, console=screen())
    assert finished.finished


def test_a_run_may_end_sooner_than_it_was_begun_to(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        kill_in_epoch(patch, 1)
        with pytest.raises(Killed):
            train(small_recipe("optimization.epochs=9"), tmp_path / "run", console=screen())
    run = train(small_recipe("optimization.epochs=1"), tmp_path / "run", resume=True, console=screen())
    assert run.finished
    assert run.read_metrics()["epochs"] == 1


def test_a_run_that_began_with_weights_is_recognized_without_reading_them(two_epochs: Run, tmp_path: Path) -> None:
    given = ("optimization.epochs=1", f"model.weights=run:{two_epochs.path}")
    run = train(small_recipe(*given), tmp_path / "run", console=screen())
    assert run.read_recipe().data.mean is not None, "the weights brought it"
    assert not check_run_place(small_recipe(*given), run.path, resume=True)
    assert check_run_place(small_recipe(*given, "optimization.epochs=2"), run.path, resume=True)
    with pytest.raises(RunError, match=r"differs in data\.mean"):
        check_run_place(small_recipe(*given, "data.mean=[0.9]", "data.std=[0.2]"), run.path, resume=True)
    resumed = edgemate.train(small_recipe(*given, "optimization.epochs=2"), run.path, resume=True)
    assert resumed.metrics["epochs"] == 2


def test_a_run_that_began_with_weights_of_resized_images_is_recognized(tmp_path: Path) -> None:
    size = ("optimization.epochs=1", "data.image_size=10", "data.resize=stretch")
    first = train(small_recipe(*size), tmp_path / "first", console=screen())
    given = ("optimization.epochs=1", f"model.weights=run:{first.path}")
    run = train(small_recipe(*given), tmp_path / "second", console=screen())
    assert run.read_recipe().data.resize == "stretch", "the weights brought it"
    assert not check_run_place(small_recipe(*given), run.path, resume=True)
    assert train(small_recipe(*given), run.path, resume=True, console=screen()).finished
