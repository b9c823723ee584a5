"""`edgemate train` with several processes, as commands; what they compute is in tests/distributed."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from prepared import edgemate

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


class Started:
    """A command, and all processes that it has started, wherever these are: torchrun's have sessions of their own."""

    def __init__(self, command: tuple[str | Path, ...], cwd: Path) -> None:
        self._mark = f"EDGEMATE_TEST={uuid.uuid4()}".encode()
        name, _, value = self._mark.decode().partition("=")
        self.process = subprocess.Popen(
            list(map(str, command)),
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {name: value},
        )

    def alive(self) -> dict[int, list[bytes]]:
        """The living processes: number → environment."""
        found = {}
        for place in Path("/proc").glob("[0-9]*"):
            try:
                variables = (place / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if self._mark in variables:
                found[int(place.name)] = variables
        return found

    def rank(self, number: int) -> int:
        """The process of that rank."""
        wanted = {f"RANK={number}".encode(), b"WORLD_SIZE=2"}
        return next(process for process, variables in self.alive().items() if wanted <= set(variables))

    def kill(self) -> None:
        """Kill what is left."""
        for process in self.alive():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.communicate()


@contextmanager
def started(*command: str | Path, cwd: Path) -> Iterator[Started]:
    """The command, all of whose processes are killed at the end."""
    found = Started(command, cwd)
    try:
        yield found
    finally:
        found.kill()


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    with started(*command, cwd=cwd) as found:
        output, errors = found.process.communicate(timeout=_SECONDS)
        assert not found.alive()  # nothing is left behind
        return subprocess.CompletedProcess(found.process.args, found.process.returncode, output, errors)


def history(folder: Path) -> list[dict[str, Any]]:
    with (folder / "history.csv").open() as file:
        return [
            {key: float(value) for key, value in row.items() if value and key != "seconds"}
            for row in csv.DictReader(file)
        ]


def test_devices_2_trains_as_one_process_does_and_says_how(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    one = edgemate("train", recipe, "--output", "one", "--quiet", cwd=tmp_path)
    two = run(*EDGEMATE, recipe, "--output", "two", "--devices", "2", cwd=tmp_path)
    assert (one.returncode, two.returncode) == (0, 0), two.stderr
    for row, expected in zip(history(tmp_path / "two"), history(tmp_path / "one"), strict=True):
        assert row.keys() == expected.keys()
        # Sums in another order: two classes of an image may change places after so little training.
        assert row == {
            key: pytest.approx(value, abs=0.05 if "/exit" in key or key.startswith("calibration/") else 1e-3)
            for key, value in expected.items()
        }
    assert f"training two by {recipe}" in two.stdout
    assert "32 images effectively: 2 processes × 1 micro-batch × 16" in two.stdout
    assert "so the learning rate stays 0.1" in two.stdout
    assert two.stdout.count("top-1 accuracy") == two.stdout.count("epoch 3/3") == 1
    assert two.stdout.rstrip().endswith("next: edgemate profile two")
    environment = json.loads((tmp_path / "two/environment.json").read_text())
    assert environment["distributed"] == {"ranks": 2, "nodes": 1, "started_by": "edgemate"}
    assert environment["command"][-4:] == ["--output", "two", "--devices", "2"]

    taken = edgemate("train", recipe, "--output", "two", "--devices", "2", cwd=tmp_path)
    assert (taken.returncode, taken.stderr.count("\n")) == (2, 1)
    assert "two: already exists" in taken.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--devices", "3"), "optimization.batch_size: 32 is not 3 processes × 1 micro-batch of two images or more"),
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
    found = edgemate("train", write_recipe(tmp_path), "--output", "run", *arguments, cwd=tmp_path)
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
def test_srun_trains_as_devices_2_does(tmp_path: Path) -> None:
    """By the variables of `srun --ntasks 2`, which has no number of tasks per node."""
    recipe = write_recipe(tmp_path)
    two = run(*EDGEMATE, recipe, "--output", "two", "--devices", "2", "--quiet", cwd=tmp_path)
    assert two.returncode == 0, two.stderr
    tasks = {"JOB_ID": str(os.getpid()), "STEP_ID": "0", "NTASKS": "2", "STEP_NUM_NODES": "1", "NODEID": "0"}
    variables = {f"SLURM_{name}": value for name, value in {**tasks, "STEP_NODELIST": "127.0.0.1"}.items()}
    srun = 'SLURM_PROCID=1 SLURM_LOCALID=1 "$@" & SLURM_PROCID=0 SLURM_LOCALID=0 "$@" && wait $!'
    given = [f"{name}={value}" for name, value in variables.items()]
    there = run("env", *given, "bash", "-c", srun, "srun", *EDGEMATE, recipe, "--output", "there", cwd=tmp_path)
    assert there.returncode == 0, there.stderr
    assert history(tmp_path / "there") == history(tmp_path / "two")
    assert there.stdout.count("top-1 accuracy") == there.stdout.count("epoch 3/3") == 1


@pytest.mark.slow
@pytest.mark.parametrize("starter", ["edgemate", "torchrun"])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_ends_the_run_and_one_process_resumes_it(tmp_path: Path, starter: str, rank: int) -> None:
    recipe = write_recipe(tmp_path, "optimization.epochs=500", "optimization.lr=0.001")
    command = [*EDGEMATE, recipe, "--devices", "2"] if starter == "edgemate" else [*TORCHRUN, "train", recipe]
    with started(*command, "--output", "run", cwd=tmp_path) as found:
        process = found.process
        until = time.monotonic() + _SECONDS
        while not (tmp_path / "run/checkpoints/last.ckpt").exists() and time.monotonic() < until:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        killed = time.monotonic()
        os.kill(found.rank(rank), signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
        assert time.monotonic() - killed < 60
        assert process.returncode not in (0, None)
        assert not found.alive()
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
