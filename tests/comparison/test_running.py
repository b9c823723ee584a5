from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgemate.comparison import running
from edgemate.comparison.running import Training, progress_line, run_all, threads_each
from edgemate.errors import TrainingError, UsageError
from edgemate.runs import Run, TrainingProgress


class Processes(dict[str, "subprocess.Popen[bytes]"]):
    """The processes started, by name, and how many others were alive when each was."""

    def __init__(self) -> None:
        super().__init__()
        self.beside: dict[str, int] = {}


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    """Instead of trainings, Python processes that run the text that stands for the recipe's path."""
    found = Processes()

    def start(self: Training, threads: int) -> subprocess.Popen[bytes]:
        found.beside[self.name] = sum(process.poll() is None for process in found.values())
        with self.log.open("ab") as log:
            found[self.name] = subprocess.Popen(
                [sys.executable, "-c", str(self.recipe)], stdin=subprocess.PIPE, stdout=log, stderr=log
            )
        return found[self.name]

    monkeypatch.setattr(Training, "start", start)
    monkeypatch.setattr(running, "_POLL_SECONDS", 0.01)
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
    with pytest.raises(TrainingError) as caught:
        run_all(trainings, jobs=1, threads=1, on_finished=lambda training, seconds: done.append(training.name))
    assert list(processes) == ["a", "b", "c", "d"]
    assert done == ["a", "c"]
    assert "b: its training failed: error: it is so (log: " in str(caught.value)
    assert "failed as well: d" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_more_than_the_jobs_run_at_a_time_and_none_outlives_an_error(tmp_path: Path, processes: Processes) -> None:
    def finished(training: Training, seconds: float) -> None:
        if training.name == "c":
            raise KeyboardInterrupt

    quick, endless = "import time; time.sleep(0.05)", "import time; time.sleep(600)"
    trainings = [training(tmp_path, name, quick) for name in "abc"] + [training(tmp_path, "d", endless)]
    with pytest.raises(KeyboardInterrupt):
        run_all([trainings[3], *trainings[:3]], jobs=2, threads=1, on_finished=finished)
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
    seen: list[tuple[list[str], int]] = []
    run_all(
        [one, training(tmp_path, "next", "pass")],
        jobs=1,
        threads=1,
        on_finished=lambda training, seconds: None,
        on_poll=lambda running, waiting: seen.append(([training.name for training in running], waiting)),
    )
    assert (["mate-seed0"], 1) in seen
