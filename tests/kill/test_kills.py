"""Commands that are killed at a file-system call: old or new whole, and the same command goes on.

`make test` takes a few calls of some commands; the slow tests take every call of all. Each runs in a process of its own
which forks one for every call (`tests/support/kill_sweep.py`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import kill_sweep
import pytest
from prepared import running

pytest.importorskip("fcntl")
pytest.importorskip("onnxruntime")
pytest.importorskip("lightning")
SCRIPT = kill_sweep.__file__

ALL = (
    *("train", "train-force", "train-extended", "calibrate-run", "profile-run", "export", "export-force"),
    *("calibrate", "bench", "profile-bundle", "build", "images", "compare"),
)
WITHOUT_TORCH = ("calibrate", "bench", "profile-bundle", "build")


def sweep(scenario: str, folder: Path, *options: str) -> dict[str, Any]:
    """What the script has found; its seed is printed with a failure."""
    if scenario in WITHOUT_TORCH:  # small processes, of which forks cost little
        command = [sys.executable, SCRIPT, scenario, str(folder), *options]
        result = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        code, printed, errors = result.returncode, result.stdout, result.stderr
    else:
        with running(kill_sweep.main, [scenario, str(folder), *options], cwd=Path.cwd()) as process:
            code, printed, errors = process.wait(4 * 3600)
    assert code == 0, errors[-3000:]
    found: dict[str, Any] = json.loads(printed)
    print(json.dumps(found))
    return found


@pytest.mark.parametrize(("scenario", "sample"), [("calibrate", 6), ("bench", 4), ("build", 4), ("train", 4)])
def test_killed_at_some_calls_nothing_is_lost(scenario: str, sample: int, tmp_path: Path) -> None:
    found = sweep(scenario, tmp_path / "sweep", "--sample", str(sample), "--seed", "1")
    assert found["problems"] == []
    assert found["tested"] == sample
    assert len(set(found["states"])) > 1  # of old, begun and new


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("scenario", ALL)
def test_killed_at_every_call_nothing_is_lost(scenario: str, tmp_path: Path) -> None:
    found = sweep(scenario, tmp_path / "sweep")
    assert found["problems"] == []
    assert found["tested"] >= found["calls"]


@pytest.mark.parametrize(("scenario", "sample"), [("calibrate", 5), ("bench", 3)])
def test_on_a_full_disk_a_command_ends_in_one_line(scenario: str, sample: int, tmp_path: Path) -> None:
    found = sweep(scenario, tmp_path / "sweep", "--act", "full", "--sample", str(sample), "--seed", "1")
    assert found["problems"] == []


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("scenario", ALL)
def test_on_a_disk_that_is_full_from_any_call_on_a_command_ends_in_one_line(scenario: str, tmp_path: Path) -> None:
    found = sweep(scenario, tmp_path / "sweep", "--act", "full")
    assert found["problems"] == []
