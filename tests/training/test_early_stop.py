"""`training.patience`."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console

from edgemate.runs import Run, read_tensors
from edgemate.training import train
from edgemate.training.checkpoints import Checkpoint
from recipes import small_recipe

EPOCHS = 12
# A rate at which the accuracy goes up and down.
RECIPE = (
    f"optimization.epochs={EPOCHS}",
    "optimization.lr=2",
    "optimization.schedule=constant",
    "distillation.method=joint_ce",
    "data.train_limit=96",
    "training.patience=2",
    "training.weights=best",
    "training.checkpoint_every=5",
    "training.keep_every=50",
)


def screen() -> Console:
    return Console(file=io.StringIO(), width=300)


def scores(run: Run) -> list[float]:
    return [float(row["calibration/mean"]) for row in csv.DictReader(run.history_path.read_text().splitlines())]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, str]:
    console = screen()
    run = train(small_recipe(*RECIPE), tmp_path_factory.mktemp("runs") / "stopped", console=console)
    return run, console.file.getvalue()  # type: ignore[attr-defined]


def test_it_stops_after_as_many_epochs_without_a_higher_accuracy(stopped: tuple[Run, str]) -> None:
    run, told = stopped
    found = scores(run)
    epochs = len(found)
    best = found.index(max(found)) + 1
    assert 3 <= epochs < EPOCHS, "the test needs a training that stops"
    assert epochs == best + 2
    for end in range(3, epochs):
        assert max(found[end - 2 : end]) > max(found[: end - 2]), "it could have stopped earlier"
    metrics = run.read_metrics()
    assert metrics["early_stop"] == {"stopped": True, "epoch": epochs, "best_epoch": best, "patience": 2}
    assert (metrics["epochs"], metrics["kept_epoch"]) == (epochs, best)
    assert f"stopped after epoch {epochs} of {EPOCHS}: " in told
    assert f"of epoch {best} for 2 epochs (training.patience)" in told
    assert list(run.kept_epochs()) == [epochs], "the last epoch is the one that it stops at"


def test_killed_after_its_last_checkpoint_it_does_not_train_on(stopped: tuple[Run, str], tmp_path: Path) -> None:
    run, _ = stopped
    save = Checkpoint.on_train_epoch_end

    def kill(self: Checkpoint, trainer: object, module: object) -> None:
        save(self, trainer, module)  # type: ignore[arg-type]
        if trainer.should_stop:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "on_train_epoch_end", kill)
        with pytest.raises(KeyboardInterrupt):
            train(small_recipe(*RECIPE), tmp_path / "run", console=screen())
    console = screen()
    resumed = train(small_recipe(*RECIPE), tmp_path / "run", resume=True, console=console)
    assert scores(resumed) == scores(run)
    assert resumed.read_metrics()["early_stop"] == run.read_metrics()["early_stop"]
    assert f"stopped after epoch {len(scores(run))} of {EPOCHS}: " in console.file.getvalue()  # type: ignore[attr-defined]
    theirs = read_tensors(run.model_path)
    for name, value in read_tensors(resumed.model_path).items():
        assert torch.equal(value, theirs[name]), name


def test_more_epochs_bring_all_of_the_patience_again(stopped: tuple[Run, str], tmp_path: Path) -> None:
    run, _ = stopped
    before = scores(run)
    longer = Run(Path(shutil.copytree(run.path, tmp_path / "run")))
    recipe = small_recipe(*RECIPE, f"optimization.epochs={EPOCHS + 8}")
    after = scores(train(recipe, longer.path, resume=True, console=screen()))
    assert after[: len(before)] == before
    assert len(after) >= len(before) + 2
