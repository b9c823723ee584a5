"""Many classifications with mixed policies in four threads: equal answers, and memory that does not grow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgemate.bundle import Bundle

pytest.importorskip("onnxruntime")
SCRIPT = Path(__file__).parents[1] / "support" / "soak.py"


def soak(bundle: Bundle, number: int) -> dict[str, Any]:
    """In a process of its own, whose memory is that of the classifier."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc")
    command = [sys.executable, str(SCRIPT), str(bundle.path), str(number), "4"]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize("number", [8_000, pytest.param(200_000, marks=pytest.mark.slow)])
def test_answers_are_those_of_one_thread_and_memory_does_not_grow(small_bundle: Bundle, number: int) -> None:
    found = soak(small_bundle, number)
    assert found["different"] == []
    assert found["counted"] == number
    assert found["growth_mib"] < 5, found
