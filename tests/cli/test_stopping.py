"""SIGTERM while a command works: it cleans up, says how to go on in one line, and ends with exit code 143."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgemate.cli.ending import how_to_continue
from edgemate.durable import is_leftover
from edgemate.runs import Run
from edgemate.stopping import Terminated, on_request, terminable, terminated
from edgemate.stopping import interruptible as interrupts

RECIPE = """
data: {name: digits}
model: {backbone: resnet8, options: {width: 4}}
distillation: {method: joint_ce}
optimization: {epochs: 999, batch_size: 32, lr: 0.1}
training: {precision: fp32}
"""

# Any command of the command line, stopped by the test in the middle of its work.
PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from edgemate import durable
from edgemate.cli.main import main
place, number = Path(sys.argv[1]), int(sys.argv[2])
sys.argv = ["edgemate", *sys.argv[3:]]
real, count = os.fsync, iter(range(1, 1000))
def fsync(handle):
    real(handle)
    if next(count) == number:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
os.fsync = fsync
main()
"""


def stopped(folder: Path, number: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command, which gets SIGTERM when it has synced so many times."""
    command = [sys.executable, "-c", PROGRAM, str(folder), str(number), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder)


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if is_leftover(path)]


@pytest.mark.parametrize("number", [1, 6])
def test_an_export_leaves_nothing(finished_run: Run, tmp_path: Path, number: int) -> None:
    pytest.importorskip("onnx")
    shutil.copytree(finished_run.path, tmp_path / "run")
    result = stopped(tmp_path, number, "export", "run", "--output", "bundle", "--quiet")
    assert result.returncode == 143, result.stderr
    assert result.stderr == "terminated: nothing was left half-written; run the same command again\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_a_calibration_leaves_a_bundle_that_opens(own_bundle: Path, number: int) -> None:
    from edgemate.bundle import Bundle

    result = stopped(own_bundle.parent, number, "calibrate", own_bundle)
    assert result.returncode == 143, result.stderr
    said = [line for line in result.stderr.splitlines() if not line.startswith("[")]  # without the progress
    assert said == ["terminated: nothing was left half-written; run the same command again"]
    Bundle.open(own_bundle)
    assert leftovers(own_bundle.parent) == []


def test_a_training_says_how_to_resume(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    command = [sys.executable, "-m", "edgemate", "train", "recipe.yaml", "--output", "run", "--quiet"]
    # As `nohup edgemate train … &` in a script: SIGINT is ignored, and stays so.
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN) and None,
    )
    try:
        checkpoint, until = tmp_path / "run/checkpoints/last.ckpt", time.monotonic() + 120
        while not checkpoint.exists() and time.monotonic() < until and process.poll() is None:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None, "SIGINT was ignored from the start"
        os.kill(process.pid, signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 143, said
    assert said == "terminated: the same command with --resume continues from the last checkpoint\n"
    assert leftovers(tmp_path) == []


def test_every_command_has_its_advice() -> None:
    assert how_to_continue(["train", "a.yaml", "--force"]).startswith("the same command with --resume instead of")
    assert how_to_continue(["compare", "a.yaml"]).startswith("the same command continues")
    assert how_to_continue(["build", "b"]).startswith("the same command continues")
    assert "again" in how_to_continue(["profile", "b"])


def test_the_handler_of_before_is_back_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def work() -> None:
        with terminable():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)

    with pytest.raises(Terminated):
        work()
    assert terminated()
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Also where these tests run in the background, which ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_stop_can_be_a_request_and_a_second_one_is_not() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def work(number: int) -> None:
        with on_request() as stops:
            assert not stops()
            os.kill(os.getpid(), number)
            assert stops()
            os.kill(os.getpid(), number)
            time.sleep(10)

    for number, kind in ((signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)):
        with pytest.raises(kind):
            work(number)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.slow
def test_a_comparison_ends_its_trainings_and_continues(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    command = [sys.executable, "-m", "edgemate", "compare", "recipe.yaml", "--methods", "joint_ce", "--seeds", "0"]
    process = subprocess.Popen(
        [*command, "--output", "c", "--quiet"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    run = Run(tmp_path / "c" / "joint_ce-seed0")
    try:
        until = time.monotonic() + 200
        while not (run.checkpoints_path / "last.ckpt").exists() and time.monotonic() < until:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 143, said
    assert said == "terminated: the same command continues; finished runs are kept\n"
    assert leftovers(tmp_path) == []
    log = (tmp_path / "c" / "logs" / "joint_ce-seed0.log").read_text()
    assert log.splitlines()[-1] == "terminated"
    from edgemate.locks import lock_file

    with lock_file(run.path):  # its training has ended
        pass


def test_an_interrupt_during_the_imports_is_one_line() -> None:
    program = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Finder())
from edgemate.cli.start import main
main()
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "stopped\n")


def test_hardly_anything_is_imported_before_interrupts_are_heeded() -> None:
    program = """
import sys, edgemate, signal
before = set(sys.modules)
import edgemate.cli.start
print(*(set(sys.modules) - before))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert sorted(result.stdout.split()) == ["edgemate.cli", "edgemate.cli.start"]


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_that_a_library_makes_something_else_of_is_one() -> None:
    def load() -> None:
        with interrupts():
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(10)
            except KeyboardInterrupt:
                raise ImportError("initialization failed") from None

    with pytest.raises(KeyboardInterrupt):
        load()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
