from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from edgemate.comparison import running
from edgemate.comparison.engines import Reports, local
from edgemate.comparison.engines.local import Local
from edgemate.comparison.running import Training, failed_trainings, progress_line, threads_each
from edgemate.errors import UsageError
from edgemate.runs import Run, TrainingProgress


class Processes(dict[str, "subprocess.Popen[bytes]"]):
    """The processes started, by name, how many others were alive when each was, and the GPU that each may see."""

    def __init__(self) -> None:
        super().__init__()
        self.beside: dict[str, int] = {}
        self.gpus: dict[str, str | None] = {}


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    """Instead of trainings, Python processes that run the text that stands for the recipe's path."""
    found = Processes()

    def start(self: Training, threads: int, *, variables: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        found.gpus[self.name] = (variables or {}).get("CUDA_VISIBLE_DEVICES")
        found.beside[self.name] = sum(process.poll() is None for process in found.values())
        with self.log.open("ab") as log:
            found[self.name] = subprocess.Popen(
                [sys.executable, "-c", str(self.recipe)], stdin=subprocess.PIPE, stdout=log, stderr=log
            )
        return found[self.name]

    monkeypatch.setattr(Training, "start", start)
    monkeypatch.setattr(local, "_POLL_SECONDS", 0.01)
    return found


def training(folder: Path, name: str, code: str) -> Training:
    return Training(name, Path(code), folder / name, folder / f"{name}.log")


def test_all_run_in_order_and_a_failed_one_does_not_keep_the_others(tmp_path: Path, processes: Processes) -> None:
    trainings = [
        training(tmp_path, "a", "pass"),
        training(tmp_path, "b", "print('error: it is so'); print(); raise SystemExit(2)"),
        training(tmp_path, "c", "pass"),
        training(tmp_path, "d", "raise SystemExit(1)"),
    ]
    done: list[str] = []
    failures = Local(1, False).run(trainings, Reports(lambda training, seconds: done.append(training.name)))
    assert list(processes) == ["a", "b", "c", "d"]
    assert done == ["a", "c"]
    error = str(failed_trainings(failures))
    assert "b: its training failed: error: it is so (log: " in error
    assert "failed as well: d" in error
    assert "\n" not in error


def test_a_loss_that_is_not_finite_is_told_from_other_errors(tmp_path: Path, processes: Processes) -> None:
    codes = {"diverged": running.DIVERGED, "other": 2, "killed": 1}
    trainings = [training(tmp_path, name, f"raise SystemExit({code})") for name, code in codes.items()]
    failures = Local(3, False).run(trainings, Reports())
    assert {failure.training.name: failure.diverged for failure in failures} == {
        "diverged": True,
        "other": False,
        "killed": False,
    }


def on_gpus(jobs: int | None, gpus: bool, folder: Path) -> Local:
    engine = Local(jobs, gpus)
    engine.start(folder)
    return engine


def test_every_training_has_a_gpu_of_its_own_where_there_are_several(
    tmp_path: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(local, "_gpu_count", lambda: 3)
    engine = on_gpus(None, True, tmp_path)
    assert engine.jobs == 3
    slow = "import time; time.sleep(0.5)"
    engine.run([training(tmp_path, name, "pass" if name == "b" else slow) for name in "abcd"], Reports())
    assert [processes.gpus[name] for name in "abc"] == ["0", "1", "2"]
    assert processes.gpus["d"] == "1"  # the one that b left

    processes.clear()
    more = on_gpus(6, True, tmp_path)
    more.run([training(tmp_path, name, slow) for name in "abcdef"], Reports())
    assert [processes.gpus[name] for name in "abcdef"] == ["0", "1", "2", "0", "1", "2"]


@pytest.mark.parametrize(
    ("visible", "count", "allowed", "expected"),
    [
        (None, 1, True, []),  # one GPU is everybody's
        (None, 4, False, []),  # the recipe trains on the CPU
        ("2, 5", 8, True, ["2", "5"]),
        ("GPU-8f,MIG-1a", 8, True, ["GPU-8f", "MIG-1a"]),
        ("0,1,-1,2", 4, True, ["0", "1"]),
        ("", 4, True, []),
    ],
)
def test_only_gpus_that_this_process_may_use_are_given_to_trainings(
    visible: str | None,
    count: int,
    allowed: bool,
    expected: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local, "_gpu_count", lambda: count)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    engine = on_gpus(None, allowed, tmp_path)
    assert engine.gpus == expected
    assert engine.jobs == max(1, len(expected))


def test_no_more_than_the_jobs_run_at_a_time_and_none_outlives_an_error(tmp_path: Path, processes: Processes) -> None:
    def finished(training: Training, seconds: float) -> None:
        if training.name == "c":
            raise KeyboardInterrupt

    quick, endless = "import time; time.sleep(0.05)", "import time; time.sleep(600)"
    trainings = [training(tmp_path, name, quick) for name in "abc"] + [training(tmp_path, "d", endless)]
    with pytest.raises(KeyboardInterrupt):
        Local(2, False).run([trainings[3], *trainings[:3]], Reports(finished))
    assert list(processes) == ["d", "a", "b", "c"]
    assert max(processes.beside.values()) == 1
    assert all(process.returncode is not None for process in processes.values())


def test_threads_are_the_cores_divided_by_jobs_unless_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "usable_cores", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [threads_each(jobs) for jobs in (1, 2, 3, 8)] == [4, 2, 1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_each(2) == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    with pytest.raises(UsageError, match="OMP_NUM_THREADS is 'many'"):
        threads_each(2)


def test_a_worker_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    # What it runs would wait for ever, in the place of the training.
    code = (
        "import time, pathlib; from edgemate.comparison import worker; "
        "worker._train = lambda *_: (pathlib.Path('up').touch(), time.sleep(600)); worker.main()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, "recipe.yaml", "run"],
        stdin=subprocess.PIPE,
        cwd=tmp_path,
    )
    assert child.stdin is not None
    deadline = time.monotonic() + 60
    while not (tmp_path / "up").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert child.poll() is None
    child.stdin.close()  # what the parent's end does
    assert child.wait(30) == 1


def test_running_trainings_are_reported_with_epoch_and_time_left(tmp_path: Path, processes: Processes) -> None:
    one = training(tmp_path, "mate-seed0", "import time; time.sleep(0.2)")
    assert progress_line(one) == "mate-seed0: starting"
    one.folder.mkdir()
    Run(one.folder).write_progress(TrainingProgress(epoch=3, epochs=30, step=12, steps=300, seconds_left=754.0))
    assert progress_line(one) == "mate-seed0: epoch 3/30, step 12/300, 12:34 left"
    work = TrainingProgress(0, 0, 1_280, 5_000, 65.0, "caching features, calibration split, image")
    Run(one.folder).write_progress(work)
    assert progress_line(one) == "mate-seed0: caching features, calibration split, image 1,280 of 5,000, 1:05 left"
    seen: list[tuple[list[str], int]] = []
    Local(1, False).run(
        [one, training(tmp_path, "next", "pass")],
        Reports(poll=lambda running, waiting: seen.append(([training.name for training in running], waiting))),
    )
    assert (["mate-seed0"], 1) in seen
