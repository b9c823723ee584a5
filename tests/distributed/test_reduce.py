from __future__ import annotations

import pytest
import rank_tasks
import torch
from ranks import Ranks


def test_what_two_processes_agree_on(two: Ranks) -> None:
    ours, theirs = two.call(rank_tasks.reductions)
    # What is in evaluation mode keeps its own.
    assert (ours["statistics"].pop(), theirs["statistics"].pop()) == (0.0, 1.0)
    assert ours == theirs
    assert ours["sum"] == [1, 20]
    assert ours["mean"] == 0.5
    assert ours["weighted"] == 0.75  # of 1 image and of 3
    assert ours["gradient"] == pytest.approx([2 / 3, 2 / 3])
    assert ours["statistics"] == [0.5]
    assert ours["same"] is True
    assert ours["differ"] is False


def test_one_process_agrees_with_itself() -> None:
    alone = rank_tasks.reductions(0, 1)
    assert alone["sum"] == [0, 10]
    assert alone["weighted"] == 0.0
    assert alone["same"] is alone["differ"] is True
    assert torch.distributed.is_initialized() is False
