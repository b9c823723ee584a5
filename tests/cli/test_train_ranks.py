"""`edgemate train` with several processes, as commands; what they compute is in tests/distributed."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgemate.config.merging import merge, parse_overrides
from edgemate.runs import Run
from recipes import SMALL

EDGEMATE = [sys.executable, "-m", "edgemate", "train"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "edgemate"]
_SECONDS = 300
BASE = ("exits.options.dropout=0", "training.sync_batchnorm=true", "training.seed=1", "data.train_limit=64")


def write_recipe(folder: Path, *overrides: str) -> Path:
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(merge(SMALL, parse_overrides([*BASE, *overrides]))))
    return path


@contextmanager
def started(*command: str | Path, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """The command, in a session of its own, all of whose processes are killed at the end."""
    process = subprocess.Popen(
        list(map(str, command)),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        for member in _session(process.pid):
            os.kill(member, signal.SIGKILL)
        process.communicate()


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    with started(*command, cwd=cwd) as process:
        output, errors = process.communicate(timeout=_SECONDS)
        assert _session(process.pid) == []  # nothing is left behind
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def _session(leader: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


def _rank(leader: int, rank: int) -> int:
    """The process of that rank in a session."""
    for process in _session(leader):
        variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
        if f"RANK={rank}".encode() in variables and b"WORLD_SIZE=2" in variables:
            return process
    raise AssertionError(f"there is no rank {rank}")


def history(folder: Path) -> list[dict[str, Any]]:
    with (folder / "history.csv").open() as file:
        return [
            {key: float(value) for key, value in row.items() if value and key != "seconds"}
            for row in csv.DictReader(file)
        ]


def test_devices_2_trains_as_one_process_does_and_says_how(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    one = run(*EDGEMATE, recipe, "--output", "one", "--quiet", cwd=tmp_path)
    two = run(*EDGEMATE, recipe, "--output", "two", "--devices", "2", cwd=tmp_path)
    assert (one.returncode, two.returncode) == (0, 0), two.stderr
    for row, expected in zip(history(tmp_path / "two"), history(tmp_path / "one"), strict=True):
        assert row == pytest.approx(expected, abs=1e-3)
    assert f"training two by {recipe}" in two.stdout
    assert "32 images effectively: 2 processes × 1 micro-batch × 16" in two.stdout
    assert "so the learning rate stays 0.1" in two.stdout
    assert two.stdout.count("top-1 accuracy") == two.stdout.count("epoch 3/3") == 1
    assert two.stdout.rstrip().endswith("next: edgemate profile two")
    environment = json.loads((tmp_path / "two/environment.json").read_text())
    assert environment["distributed"] == {"ranks": 2, "nodes": 1, "started_by": "edgemate"}
    assert environment["command"][1:] == ["train", "small.yaml", "--output", "two", "--devices", "2"] or environment[
        "command"
    ][-2:] == ["--devices", "2"]

    taken = run(*EDGEMATE, recipe, "--output", "two", "--devices", "2", cwd=tmp_path)
    assert (taken.returncode, taken.stderr.count("\n")) == (2, 1)
    assert "two: already exists" in taken.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--devices", "3"), "optimization.batch_size: 32 is not 3 processes × 1 micro-batches of two images or more"),
        (("--devices", "2", "--nodes", "2"), "nodes: 2 machines need MASTER_ADDR, MASTER_PORT, NODE_RANK"),
        (("--devices", "2", "--strategy", "fsdp"), "strategy: 'fsdp' is unknown"),
        (("--devices", "2", "--set", "training.cuda_graphs=true"), "training.cuda_graphs"),
        (
            ("--set", "optimization.accumulate=2", "--set", "distillation.method=last_exit"),
            "optimization.accumulate: it calls last_exit several times per step",
        ),
    ],
)
def test_what_cannot_be_done_is_one_message_before_anything_starts(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    found = run(*EDGEMATE, write_recipe(tmp_path), "--output", "run", *arguments, cwd=tmp_path)
    assert found.returncode == 2
    assert message in found.stderr
    assert "Traceback" not in found.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_torchrun_trains_as_devices_2_does(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    two = run(*EDGEMATE, recipe, "--output", "two", "--devices", "2", "--quiet", cwd=tmp_path)
    there = run(*TORCHRUN, "train", recipe, "--output", "there", cwd=tmp_path)
    assert (two.returncode, there.returncode) == (0, 0), there.stderr
    assert history(tmp_path / "there") == history(tmp_path / "two")
    assert there.stdout.count("top-1 accuracy") == there.stdout.count("epoch 3/3") == 1
    wrong = run(*TORCHRUN, "train", recipe, "--output", "wrong", "--devices", "4", cwd=tmp_path)
    assert wrong.returncode
    assert "4 was asked for, and torchrun has started 2" in wrong.stderr
    assert not (tmp_path / "wrong").exists()


@pytest.mark.slow
@pytest.mark.parametrize("starter", ["edgemate", "torchrun"])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_ends_the_run_and_one_process_resumes_it(tmp_path: Path, starter: str, rank: int) -> None:
    recipe = write_recipe(tmp_path, "optimization.epochs=500", "optimization.lr=0.001")
    command = [*EDGEMATE, recipe, "--devices", "2"] if starter == "edgemate" else [*TORCHRUN, "train", recipe]
    with started(*command, "--output", "run", cwd=tmp_path) as process:
        until = time.monotonic() + _SECONDS
        while not (tmp_path / "run/checkpoints/last.ckpt").exists() and time.monotonic() < until:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        killed = time.monotonic()
        os.kill(_rank(process.pid, rank), signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
        assert time.monotonic() - killed < 60
        assert process.returncode not in (0, None)
        assert _session(process.pid) == []
    if starter == "edgemate":
        assert process.returncode == 2
        lines = [line for line in errors.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1
        assert lines[0].startswith(f"error: rank {rank} of 2 (process ")
        assert lines[0].endswith("was killed by SIGKILL; all others were ended, and --resume continues from the last "
                                 "checkpoint")  # fmt: skip
    else:
        assert "SIGKILL" in errors
        assert f"rank      : {rank}" in errors
    done = len(history(tmp_path / "run"))
    more = ("--set", f"optimization.epochs={done + 1}")
    resumed = run(*EDGEMATE, recipe, "--output", "run", "--resume", *more, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert [row["epoch"] for row in history(tmp_path / "run")] == list(range(1, done + 2))
    assert Run.open(tmp_path / "run").finished
