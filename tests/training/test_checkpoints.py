from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import pytest
import torch
from rich.console import Console

from edgemate.errors import RunError
from edgemate.runs import Run
from edgemate.training import train
from edgemate.training.checkpoints import CheckpointFiles
from recipes import small_recipe


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("runs") / "unfinished"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "write_metrics", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(small_recipe(), path, console=Console(file=io.StringIO()))
    return Run.open(path, finished=False)


def cut(content: bytes) -> bytes:
    return content[:5000]


def changed(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(byte ^ 1 for byte in content[middle : middle + 64]) + content[middle + 64 :]


def replaced(content: bytes) -> bytes:
    return b"no checkpoint"


@pytest.mark.parametrize("damage", [cut, changed, replaced])
def test_a_damaged_checkpoint_is_not_resumed_from(unfinished: Run, damage) -> None:
    checkpoint = unfinished.checkpoints_path / "last.ckpt"
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(damage(whole))
    try:
        with pytest.raises(
            RunError, match=r"last\.ckpt: not a checkpoint, or damaged .*resuming begins again"
        ) as caught:
            train(small_recipe(), unfinished.path, resume=True, console=Console(file=io.StringIO()))
    finally:
        checkpoint.write_bytes(whole)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_is_replaced_by_a_whole_one_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    checkpoints = CheckpointFiles()
    checkpoints.save_checkpoint({"weight": torch.ones(3)}, path)
    with monkeypatch.context() as patch:

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space") as caught:
            checkpoints.save_checkpoint({"weight": torch.zeros(3)}, path)
    assert caught.value.filename == str(path)
    assert [each.name for each in tmp_path.iterdir()] == ["last.ckpt"]
    assert torch.equal(checkpoints.load_checkpoint(path, weights_only=True)["weight"], torch.ones(3))
