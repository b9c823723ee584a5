"""deploy/gpu_kit/cifar100.py, which can be killed at any moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scripts import GPU_KIT, load_script
from toy_data import archive, pixels

from edgemate import files

SCRIPT = GPU_KIT / "cifar100.sh"
SMALL = ["model.backbone=resnet8", "exits.at=[stage1,stage2,stage3]", "exits.head=linear", "training.precision=fp32"]
SMALL += ["optimization.epochs=3", "optimization.schedule_options.milestones=[1,2]"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    train, test = (
        {"x_train": pixels(400, 32, 32, 3), "y_train": np.arange(400) % 100},
        {"x_test": pixels(100, 32, 32, 3)},
    )
    archive(folder / "cifar100.npz", **train, **test, y_test=np.arange(100), classes=np.arange(100).astype(str))
    return folder


def command(data: Path, *options: str) -> list[str]:
    settings = [word for setting in SMALL for word in ("--set", setting)]
    return [str(SCRIPT), str(data), *options, *settings]


def environment(folder: Path) -> dict[str, str]:
    own = {"PYTHON": sys.executable, "RUNS": str(folder / "runs"), "RESULTS": str(folder / "results")}
    return os.environ | own | {"OMP_NUM_THREADS": "1"}


def result(folder: Path) -> dict:
    return json.loads((folder / "results" / "cifar100_resnet18.json").read_text())


@pytest.mark.slow
def test_it_resumes_after_being_killed_at_any_moment(tmp_path: Path, data: Path) -> None:
    asked = command(data, "--methods", "mate,joint_ce", "--seeds", "0")
    run = tmp_path / "runs" / "resnet18_mate-seed0"
    for seen in (run, run / "history.csv", run / "logits"):  # before, between and after its epochs
        process = subprocess.Popen(asked, env=environment(tmp_path))
        wait_for(seen)
        process.kill()
        process.wait()
    subprocess.run(asked, env=environment(tmp_path), check=True)
    found = result(tmp_path)
    assert [(run["method"], run["finished"], run["epochs"]) for run in found["runs"]] == [
        ("mate", True, 3),
        ("joint_ce", True, 3),
    ]
    for run in found["runs"]:
        assert len(run["test"]["exits"]) == 3
        assert run["images_per_second"] > 0
        assert 0 < run["data_wait_fraction"] < 1
    assert [exit["exit"] for exit in found["macs"]] == [1, 2, 3]
    assert str(tmp_path) not in json.dumps(found)
    subprocess.run([*asked, "--collect"], env=environment(tmp_path), check=True)
    assert result(tmp_path)["runs"] == found["runs"]


@pytest.mark.slow
def test_it_stops_when_its_time_is_up_and_leaves_no_training_running(tmp_path: Path, data: Path) -> None:
    started = time.monotonic()
    asked = command(data, "5", "--methods", "mate", "--jobs", "2")
    done = subprocess.run(asked, env=environment(tmp_path), check=True, capture_output=True, text=True)
    assert time.monotonic() - started < 60
    assert "time is up" in done.stdout
    assert not [run for run in result(tmp_path)["runs"] if run["finished"]]
    assert not trainings_in(tmp_path)


@pytest.mark.slow
def test_one_at_a_time_and_no_training_outlives_it(tmp_path: Path, data: Path) -> None:
    asked = command(data, "--methods", "mate", "--seeds", "0")
    with subprocess.Popen(asked, env=environment(tmp_path)) as first:
        wait_for(tmp_path / "runs" / "resnet18_mate-seed0")
        second = subprocess.run(asked, env=environment(tmp_path), capture_output=True, text=True)
        assert second.returncode == 1
        assert "another cifar100.py is running" in second.stderr
        first.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while trainings_in(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 200
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.05)


def trainings_in(folder: Path) -> list[str]:
    """Command lines of running trainings that write into the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"edgemate" in words and any(folder.name.encode() in word for word in words):
            found.append(b" ".join(words).decode())
    return found


def test_the_table_has_means_over_finished_seeds_and_lists_unfinished_runs() -> None:
    script = load_script("deploy/gpu_kit/cifar100.py")

    def run(method: str, seed: int, exits: list[float] | None) -> dict:
        found = {"run": f"resnet18_{method}-seed{seed}", "method": method, "epochs": 7, "total_epochs": 200}
        found |= {"training_images": 45_000, "calibration_images": 5_000}
        return found | {"finished": exits is not None, "test": {"exits": exits, "ensemble": 0.9}}

    runs = [run("mate", 0, [0.7, 0.8]), run("mate", 1, [0.72, 0.8]), run("eed", 0, [0.5, 0.6]), run("eed", 1, None)]
    macs = [{"exit": k, "macs": k * 10**8, "chained_macs": k * 10**8} for k in (1, 2)]
    lines = script._table({"runs": runs, "macs": macs}).splitlines()
    assert lines == [
        "| method | seeds | training images | exit 1 (100 M) | exit 2 (200 M) | ensemble |",
        "|---|---|---|---|---|---|",
        "| mate | 2 | 45,000 | 71.00 ± 1.41 | 80.00 ± 0.00 | 90.00 ± 0.00 |",
        "| eed | 1 | 45,000 | 50.00 | 60.00 | 90.00 |",
        "",
        "calibration images, held out of the training images: 5,000",
        "",
        "not finished: resnet18_eed-seed1 (7 of 200 epochs)",
    ]
    assert "no run has finished" in script._table({"runs": runs[3:], "macs": None})


def test_a_run_killed_before_its_first_epoch_is_reported(tmp_path: Path) -> None:
    script = load_script("deploy/gpu_kit/cifar100.py")
    recipe = "optimization: {epochs: 200, batch_size: 128}\ntraining: {seed: 0}\n"
    files.write_text(tmp_path / "recipe.yaml", recipe)
    found = script._result(tmp_path, "mate", 0)
    assert (found["epochs"], found["total_epochs"], found["finished"]) == (0, 200, False)
    assert found["training_images"] is None
    files.write_json(tmp_path / "metadata.json", {"images": {"train": 45_000, "calibration": 5_000}})
    found = script._result(tmp_path, "mate", 0)
    assert (found["training_images"], found["calibration_images"]) == (45_000, 5_000)
