"""SIGTERM while a command works: it cleans up, says how to go on in one line, and ends with exit code 143."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prepared import running
from ready_graphs import command_with_graphs_of
from stopped_commands import Signalled, in_the_background, stop_at

from edgemate.cli.ending import how_to_continue
from edgemate.durable import is_leftover
from edgemate.exporting import Exported
from edgemate.runs import Run
from edgemate.stopping import Terminated, not_lost, on_request, terminable, terminated
from edgemate.stopping import interruptible as interrupts

RECIPE = """
data: {name: digits}
model: {backbone: resnet8, options: {width: 4}}
distillation: {method: joint_ce}
optimization: {epochs: 999, batch_size: 32, lr: 0.1}
training: {precision: fp32}
"""


def stopped(folder: Path, number: int, *arguments: object) -> tuple[int, str]:
    """The exit code and what is on standard error; the command gets SIGTERM when it has synced so many times."""
    return ended(stop_at, number, *map(str, arguments), cwd=folder)


def ended(function: Callable[..., None], *given: object, cwd: Path) -> tuple[int, str]:
    with running(function, *given, cwd=cwd) as process:
        code, _, said = process.wait(120)
        return code, said


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if is_leftover(path)]


@pytest.mark.parametrize("number", [1, 6])
def test_an_export_leaves_nothing(finished_run: Run, exported: Exported, tmp_path: Path, number: int) -> None:
    shutil.copytree(finished_run.path, tmp_path / "run")
    command = ("export", "run", "--output", "bundle", "--quiet")
    code, told = ended(command_with_graphs_of, exported.bundle.path, number, *command, cwd=tmp_path)
    assert code == 143, told
    assert told == "terminated: nothing was left half-written; run the same command again\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_a_calibration_leaves_a_bundle_that_opens(own_bundle: Path, number: int) -> None:
    from edgemate.bundle import Bundle

    code, told = stopped(own_bundle.parent, number, "calibrate", own_bundle)
    assert code == 143, told
    said = [line for line in told.splitlines() if not line.startswith("[")]  # without the progress
    assert said == ["terminated: nothing was left half-written; run the same command again"]
    Bundle.open(own_bundle)
    assert leftovers(own_bundle.parent) == []


def test_a_training_says_how_to_resume(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    command = ("train", "recipe.yaml", "--output", "run", "--quiet")
    with running(in_the_background, *command, cwd=tmp_path) as process:
        checkpoint, until = tmp_path / "run/checkpoints/last.ckpt", time.monotonic() + 120
        while not checkpoint.exists() and time.monotonic() < until and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None, "SIGINT was ignored from the start"
        process.send_signal(signal.SIGTERM)
        code, _, said = process.wait(60)
    assert code == 143, said
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


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_signal_that_python_drops_comes_again(number: int, kind: type[BaseException]) -> None:
    hook = sys.unraisablehook

    def work() -> None:
        with terminable(), not_lost():
            left = [Signalled(number) for _ in range(3)]
            while left:
                left.pop()
            time.sleep(10)

    with pytest.raises(kind) as raised:
        work()
    assert raised.type is kind
    assert sys.unraisablehook == hook


def test_what_else_python_drops_is_reported_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __del__(self) -> None:
            raise ValueError("broken")

    reported: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: reported.append(str(dropped.exc_value)))
    with not_lost():
        Broken()
    assert reported == ["broken"]


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
