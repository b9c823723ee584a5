"""benchmarks/train_throughput.py: the timed part of a turn, and the results on disk after a failure."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from scripts import load_script

from edgemate.errors import UsageError

script = load_script("benchmarks/train_throughput.py")


def turn_of(skip: int, monkeypatch: pytest.MonkeyPatch) -> object:
    """A turn of four batches of eight images; each call of the clock is one second later than the last."""
    seconds = iter(range(100))
    monkeypatch.setattr(script.time, "perf_counter", lambda: float(next(seconds)))
    clock = script._Clock(skip)
    trainer, task = SimpleNamespace(num_training_batches=4), SimpleNamespace(device=torch.device("cpu"))
    clock.on_train_epoch_start(trainer, task)
    for index in range(4):
        clock.on_train_batch_start(trainer, task, [torch.zeros(8)], index)
        clock.on_train_batch_end(trainer, task, None, None, index)
    return clock.turn


def test_the_first_batches_of_a_turn_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert turn_of(0, monkeypatch) == script.Turn(32, 8.0, 4.0)
    assert turn_of(3, monkeypatch) == script.Turn(8, 2.0, 1.0)


def test_the_clock_starts_and_stops_after_a_synchronization(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []
    monkeypatch.setattr(script, "_wait", waited.append)
    turn_of(2, monkeypatch)
    assert len(waited) == 2


def test_a_turn_has_no_more_batches_than_an_epoch() -> None:
    assert script._batches(100, 20, 352) == 120
    assert script._batches(100, 20, 88) == 88
    with pytest.raises(UsageError, match="an epoch has 20 batches; skip fewer"):
        script._batches(100, 20, 20)


def test_the_number_of_workers_follows_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, workers in ((16, 8), (4, 2), (64, 8)):
        monkeypatch.setattr(script, "usable_cores", lambda cores=cores: cores)
        assert script._workers("cuda") == workers
        assert script._workers("cpu") == 0


def test_a_failed_row_is_listed_and_the_others_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "found.json"
    monkeypatch.setattr(
        sys, "argv", ["train_throughput.py", "--random", "--rounds", "2", "--output", str(path), "--skip", "1"]
    )
    written = []
    turns = iter(range(100))

    class Turns:
        def __init__(self, *given: object) -> None:
            self.count = 0

        def __call__(self) -> object:
            self.count += 1
            if next(turns) == 4:  # the second turn of the second row
                written.append(json.loads(path.read_text())["results"])
                raise RuntimeError("out of\nmemory")
            return script.Turn(10, 1.0)

    for name in ("_PlainLoop", "_Trained"):
        monkeypatch.setattr(script, name, Turns)
    monkeypatch.setattr(script, "prepare_data", lambda recipe: None)
    monkeypatch.setattr(script, "ON_CPU", {"fp32": (), "bf16": ()})
    script.main()
    assert set(written[0]) == {script.PLAIN, "fp32", "bf16"}  # results before the failure
    found = json.loads(path.read_text())
    assert found["turns_done"] == 2
    assert found["results"]["fp32"]["failed"] == "RuntimeError: out of memory"
    assert found["results"]["fp32"]["median"] == 10  # of its first turn
    assert found["results"]["bf16"]["median"] == 10


def test_the_plain_loop_counts_the_images_it_trained_on(tmp_path: Path) -> None:
    settings = [*script._random(tmp_path, "cpu"), "training.accelerator=cpu", "training.workers=0"]
    settings += ["model.backbone=resnet8", "exits.at=[stage1,stage2,stage3]", "optimization.batch_size=8"]
    recipe = script.load_recipe(script.RECIPE, settings)
    turn = script._PlainLoop(recipe, script.prepare_data(recipe), "cpu", 2, 1)()
    assert turn.images == 16
    assert turn.seconds > 0
