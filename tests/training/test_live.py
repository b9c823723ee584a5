"""What another process can read of a training while it runs: `progress.json`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from edgemate.comparison.running import Training, progress_line
from edgemate.progress import SILENT
from edgemate.runs import Run, TrainingProgress
from edgemate.training import live, train
from recipes import small_recipe


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[TrainingProgress]:
    """What trainings write, at every step, of this test."""
    monkeypatch.setattr(live, "FILE_SECONDS", 0.0)
    found: list[TrainingProgress] = []
    write = Run.write_progress

    def record(run: Run, progress: TrainingProgress) -> None:
        write(run, progress)
        assert run.read_progress() == progress
        found.append(progress)

    monkeypatch.setattr(Run, "write_progress", record)
    return found


def test_caching_the_epochs_and_the_evaluation_can_be_read_from_another_process(
    written: list[TrainingProgress], tmp_path: Path
) -> None:
    recipe = small_recipe("training.freeze=backbone", "data.train_limit=128", "optimization.epochs=2")
    run = train(recipe, tmp_path / "run", console=Console(file=io.StringIO()))
    order = [progress.work or f"epoch {progress.epoch} of {progress.epochs}" for progress in written]
    assert list(dict.fromkeys(order)) == [
        "caching features, calibration split, image",
        "caching features, view 1 of 1, image",
        "epoch 1 of 2",
        "epoch 2 of 2",
        "evaluating the calibration split, image",
        "evaluating the test split, image",
    ]
    assert (written[-1].step, written[-1].steps) == (449, 449)
    assert not run.progress_path.exists()


def test_work_beside_the_epochs_is_told_with_the_time_left(written: list[TrainingProgress], tmp_path: Path) -> None:
    training = Training("mate-seed0", tmp_path / "recipe.yaml", tmp_path, tmp_path / "log")
    told: list[Any] = []
    beside = live.BesideEpochs(_Told(told), Run(tmp_path))
    beside.step("caching features, view 1 of 1, image")
    beside.advance(20, 80, "a detail")
    beside.advance(40, 80)
    assert told == ["caching features, view 1 of 1, image", (20, 80, "a detail"), (40, 80, "")]
    assert progress_line(training) == "mate-seed0: caching features, view 1 of 1, image 40 of 80, 0:00 left"
    beside.step("another step")
    beside.advance(1, 2)
    assert written[-1].work == "another step"


class _Told:
    def __init__(self, told: list[Any]) -> None:
        self._told = told

    def step(self, text: str) -> None:
        self._told.append(text)

    def advance(self, done: int, total: int, detail: Any = "") -> None:
        self._told.append((done, total, detail))

    def unattended(self) -> Any:
        return SILENT.unattended()
