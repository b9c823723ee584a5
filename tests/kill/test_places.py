"""Places that cannot be written to: one line, exit code 2, and nothing half-written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import write_small_bundle

from edgemate.bundle import Bundle
from edgemate.durable import is_leftover
from edgemate.runs import Run

pytest.importorskip("onnxruntime")

RECIPE = """
data: {name: digits, train_limit: 64, calibration_limit: 40, test_limit: 40}
model: {backbone: resnet8, options: {width: 4}}
distillation: {method: joint_ce}
optimization: {epochs: 1, batch_size: 32, lr: 0.1}
training: {precision: fp32}
"""
COMMANDS = {
    "train": ["train", "recipe.yaml", "--output", "run"],
    "export": ["export", "trained", "--output", "bundle"],
    "export-force": ["export", "trained", "--output", "small", "--force"],
    "calibrate": ["calibrate", "small"],
    "bench": ["bench", "small", "--device", "here", "--repeats", "2", "--warmup", "0"],
    "report": ["bench", "small", "--repeats", "2", "--warmup", "0", "--output", "report.json"],
    "profile": ["profile", "small", "--repeats", "2", "--output", "profile"],
    "images": ["images", "recipe.yaml", "--count", "9", "--output", "images"],
}


def edgemate(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgemate", *arguments, *(("--quiet",) if arguments[0] != "calibrate" else ())],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder,
        env=os.environ | variables,
    )


@pytest.fixture
def disk(tmp_path: Path, finished_run: Run) -> Iterator[Path]:
    """A disk of 8 MB with a run, a bundle and a recipe on it."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    try:
        shutil.copytree(finished_run.path, place / "trained")
        write_small_bundle(place / "small")
        (place / "recipe.yaml").write_text(RECIPE)
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def files_of(folder: Path) -> dict[str, bytes]:
    """All files but lock files, which are empty or name a process."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def check_one_line(result: subprocess.CompletedProcess[str]) -> None:
    assert result.returncode == 2, result.stderr
    said = [line for line in result.stderr.splitlines() if not line.startswith("[")]
    assert len(said) == 1, result.stderr
    assert said[0].startswith("error: "), result.stderr


_SOON = ("calibrate", "report")  # the others take minutes all together
_SLOW = [name if name in _SOON else pytest.param(name, marks=pytest.mark.slow) for name in COMMANDS]


@pytest.mark.parametrize("command", _SLOW)
def test_a_full_disk_is_one_line_and_leaves_what_was_there(disk: Path, command: str) -> None:
    before = files_of(disk)
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as target:
        try:
            while True:
                target.write(b"x" * 4096)
        except OSError:
            pass
    result = edgemate(disk, *COMMANDS[command])
    check_one_line(result)
    assert "No space left on device; free some space" in result.stderr
    filler.unlink()
    after = files_of(disk)
    assert {name: after.get(name) for name in before} == before
    # A training may have begun its run, which is resumed; all others leave nothing.
    assert command == "train" or set(after) == set(before)
    assert not [path for path in disk.rglob("*") if is_leftover(path)]
    Bundle.open(disk / "small")
    again = edgemate(disk, *COMMANDS[command], *(("--resume",) if command == "train" else ()))
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("command", _SLOW)
def test_a_read_only_disk_is_one_line(disk: Path, command: str) -> None:
    before = files_of(disk)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    result = edgemate(disk, *COMMANDS[command])
    check_one_line(result)
    assert "Read-only file system" in result.stderr
    assert files_of(disk) == before


@pytest.mark.parametrize(
    "command", ["images", *(pytest.param(name, marks=pytest.mark.slow) for name in ("train", "export", "profile"))]
)
def test_without_a_home_and_a_cache_a_command_works(tmp_path: Path, finished_run: Run, command: str) -> None:
    shutil.copytree(finished_run.path, tmp_path / "trained")
    write_small_bundle(tmp_path / "small")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    nowhere = "/dev/null/absent"
    result = edgemate(tmp_path, *COMMANDS[command], HOME=nowhere, XDG_CACHE_HOME=nowhere, XDG_CONFIG_HOME=nowhere)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
