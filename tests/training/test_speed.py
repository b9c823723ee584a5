from __future__ import annotations

import csv
import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from edgemate.data import TrainingTransform
from edgemate.training import train
from recipes import small_recipe


def rows_of(path: Path) -> list[dict[str, float]]:
    rows = csv.DictReader(path.read_text().splitlines())
    return [{name: float(value) for name, value in row.items()} for row in rows]


def test_every_epoch_says_how_long_it_waited_for_its_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = TrainingTransform.__call__

    def slowly(*given: object) -> object:
        time.sleep(0.01)
        return prepare(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(TrainingTransform, "__call__", slowly)
    run = train(small_recipe("optimization.epochs=2"), tmp_path / "run", console=Console(file=io.StringIO()))
    rows = rows_of(run.speed_path)
    assert [row["epoch"] for row in rows] == [1, 2]
    for row, seconds in zip(rows, rows_of(run.history_path), strict=True):
        assert row["images"] == 512
        assert 16 * 0.01 < row["data_seconds"] < row["seconds"] < seconds["seconds"]
        assert row["memory_bytes"] > 1e6
