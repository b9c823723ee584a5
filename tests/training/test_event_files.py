from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest
from rich.console import Console

from edgemate.runs import Run
from edgemate.training import train
from recipes import small_recipe


def test_a_disk_that_is_full_for_tensorboard_is_one_error_and_the_run_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tensorboard.summary.writer import record_writer

    recipe = small_recipe("optimization.epochs=3", "data.train_limit=64")

    def full(self: object, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(record_writer.RecordWriter, "write", full)
        with pytest.raises(OSError, match="No space") as caught:
            train(recipe, tmp_path / "run", console=Console(file=io.StringIO()))
    assert caught.value.filename == str(tmp_path / "run" / "tensorboard")
    assert "Traceback" not in capsys.readouterr().err
    assert train(recipe, tmp_path / "run", resume=True, console=Console(file=io.StringIO())).finished
    assert Run.open(tmp_path / "run").read_metrics()["epochs"] == 3
