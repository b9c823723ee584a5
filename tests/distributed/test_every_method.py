"""Whatever trains the exits, two processes with half of a batch each do what one process does with all of it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import rank_tasks
import torch
from ranks import Ranks

from edgemate.registry import METHODS

NAMES = METHODS.names()
# Each divides its batch into two kinds of images, and the halves of an odd number of images differ from those of parts.
EVEN_ONLY = {"dfa", "uda_kd"}


@pytest.mark.parametrize("images", [8, 9])
@pytest.mark.parametrize("name", NAMES)
def test_two_processes_do_as_one(two: Ranks, tmp_path: Path, name: str, images: int) -> None:
    if images % 2 and name in EVEN_ONLY:
        pytest.skip("equal for equal parts only")
    expected = copy.deepcopy(rank_tasks.method_steps(0, 1, name, tmp_path, images))
    found = two.call(rank_tasks.method_steps, name, tmp_path, images)
    for part in found:
        assert part["losses"] == pytest.approx(expected["losses"], rel=1e-4)
        assert part["terms"] == pytest.approx(expected["terms"], rel=1e-4, abs=1e-5)
        assert part["report"] == pytest.approx(expected["report"], rel=1e-4, abs=1e-5)
        _assert_close(part["gradients"], expected["gradients"])
        _assert_close(part["state"], expected["state"])
    for key, value in found[0]["state"].items():
        assert torch.equal(value, found[1]["state"][key]), key


def _assert_close(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-3, atol=2e-5, msg=lambda text, key=key: f"{key}: {text}")
