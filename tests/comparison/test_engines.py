"""Engines by name, their options, and what is missing for them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgemate.comparison.engines import Engine, Reports
from edgemate.comparison.engines.local import Local
from edgemate.comparison.engines.making import make_engine
from edgemate.comparison.engines.ray_task import Task, train_here
from edgemate.comparison.running import Failure, Training
from edgemate.errors import UsageError
from recipes import small_recipe


def test_the_engine_knows_whether_trainings_may_use_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgemate.comparison.engines.local.visible_gpus", lambda: ["0", "1"])
    for accelerator, jobs in (("auto", 2), ("gpu", 2), ("cpu", 1)):
        engine = make_engine("local", None, small_recipe(f"training.accelerator={accelerator}"))
        assert isinstance(engine, Local)
        engine.start(tmp_path)
        assert engine.jobs == jobs


def test_wrong_names_and_options_are_one_line() -> None:
    for name, options, message in (
        ("rey", {}, "unknown engine 'rey'; did you mean 'ray'"),
        ("local", {"address": "here:1"}, "address: engine local has no such option; it has no options"),
        (
            "ray",
            {"cpus": 1},
            "cpus: engine ray has no such option; it has address, cpus_per_run, gpus_per_run",
        ),
        ("ray", {"cpus_per_run": 0}, "cpus_per_run: should be greater than or equal to 1, not 0"),
    ):
        with pytest.raises(UsageError) as caught:
            make_engine(name, None, small_recipe(), options)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_without_ray_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else find(name))
    with pytest.raises(UsageError, match=r"^engine ray: Ray is not installed; pip install 'edgemate\[cluster\]'$"):
        make_engine("ray", None, small_recipe()).check(tmp_path)


def test_an_engine_of_ones_own_is_named_by_a_dotted_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_engine.py").write_text(
        "from edgemate.comparison.engines import Engine\n"
        "class Queue(Engine):\n"
        "    'Places nothing.'\n"
        "    def __init__(self, jobs, gpus, *, name: str = 'long'):\n"
        "        self.jobs, self.threads, self.name = jobs or 1, 1, name\n"
        "    def run(self, trainings, reports):\n"
        "        return []\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    engine = make_engine("own_engine:Queue", 3, small_recipe(), {"name": "short"})
    assert isinstance(engine, Engine)
    assert (engine.jobs, engine.name) == (3, "short")  # type: ignore[attr-defined]
    trainings: Sequence[Training] = []
    failures: list[Failure] = engine.run(trainings, Reports())
    assert failures == []


def test_a_node_that_does_not_see_the_folder_says_so(tmp_path: Path) -> None:
    training = Training("one", tmp_path / "one.yaml", tmp_path / "one", tmp_path / "one.log")
    task = Task(training, 1, False, {}, (), tmp_path, str(tmp_path / "other" / "token"))
    outcome = train_here(task)
    assert outcome.code != 0
    assert outcome.problem is not None
    assert f"does not see {tmp_path / 'other'}; choose an output folder that all nodes share" in outcome.problem
    assert not training.log.exists()


def test_a_training_that_was_started_again_elsewhere_is_ended(tmp_path: Path) -> None:
    # In a process of its own, which ends with it.
    program = """
import pathlib, subprocess, sys
from edgemate.comparison.engines import ray_task
folder = pathlib.Path(sys.argv[1])
counter = folder / "attempts"
counter.write_bytes(b".")
process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
(folder / "id").write_text(str(process.pid))
(folder / "ready").touch()
ray_task._wait(process, counter, 1)
"""
    waiting = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
    deadline = time.monotonic() + 60
    while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    assert waiting.poll() is None
    with (tmp_path / "attempts").open("ab") as counter:
        counter.write(b".")  # what a second attempt does first
    assert waiting.wait(30) == 1
    assert not Path(f"/proc/{(tmp_path / 'id').read_text()}").exists()
