from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def without(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda stored: stored.pop(key)


def having(key: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda stored: stored.update({key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("epoch"), "epoch should be a int, and is missing"),
        (having("epoch", "two"), "epoch should be a int, and is str"),
        (having("epoch", -3), "its epoch or step is negative"),
        (without("state_dict"), "state_dict should be a dict, and is missing"),
        (having("loops", [1]), "loops should be a dict, and is list"),
        (having("state_dict", {}), "cannot be restored"),
        (having("state_dict", {"a": 3}), "cannot be restored"),
        (having("loops", {"fit_loop": 3}), "cannot be restored"),
        (having("optimizer_states", [{}]), "cannot be restored"),
        (having("optimizer_states", [3]), "cannot be restored"),
        (having("lr_schedulers", ["x"]), "cannot be restored"),
    ],
)
def test_a_checkpoint_of_something_else_is_named(unfinished: Run, change: Any, message: str) -> None:
    checkpoint = unfinished.checkpoints_path / "last.ckpt"
    whole = checkpoint.read_bytes()
    stored = torch.load(checkpoint, weights_only=True)
    change(stored)
    torch.save(stored, checkpoint)
    try:
        with pytest.raises(RunError) as caught:
            train(small_recipe(), unfinished.path, resume=True, console=Console(file=io.StringIO()))
    finally:
        checkpoint.write_bytes(whole)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{checkpoint}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [[1, 2], "text", {"a": torch.ones(2)}])
def test_a_file_of_torch_that_is_no_checkpoint(unfinished: Run, content: Any) -> None:
    checkpoint = unfinished.path / "other.ckpt"
    torch.save(content, checkpoint)
    with pytest.raises(RunError, match="not a checkpoint of a training"):
        CheckpointFiles().load_checkpoint(checkpoint, map_location="cpu", weights_only=True)


def test_a_checkpoint_is_replaced_by_a_whole_one_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    checkpoints = CheckpointFiles()
    state: dict[str, Any] = {"epoch": 0, "global_step": 1, "loops": {}, "callbacks": {}}
    state |= {"optimizer_states": [], "lr_schedulers": []}
    checkpoints.save_checkpoint({**state, "state_dict": {"weight": torch.ones(3)}}, path)
    with monkeypatch.context() as patch:

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space") as caught:
            checkpoints.save_checkpoint({**state, "state_dict": {"weight": torch.zeros(3)}}, path)
    assert caught.value.filename == str(path)
    assert [each.name for each in tmp_path.iterdir()] == ["last.ckpt"]
    found = checkpoints.load_checkpoint(path, weights_only=True)
    assert torch.equal(found["state_dict"]["weight"], torch.ones(3))
