from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import typer
from clock import FakeClock

from edgemate.cli.main import app
from edgemate.cli.progress import BarProgress, LineProgress, showing_progress
from edgemate.progress import SILENT


def test_a_line_for_every_step_and_one_every_thirty_seconds() -> None:
    clock, file = FakeClock(), io.StringIO()
    progress = LineProgress(file, clock=clock)
    progress.step("segments: exit 1 of 2")
    progress.step("segments: exit 1 of 2")
    clock.pass_by(10)
    progress.step("answering, image")
    for done in range(1, 101):
        clock.pass_by(1)
        progress.advance(done, 100, lambda: "loss 2.5")
    assert file.getvalue().splitlines() == [
        "[0:00] segments: exit 1 of 2",
        "[0:10] answering",
        "[0:40] answering, image: 30 of 100, 1:10 left, loss 2.5",
        "[1:10] answering, image: 60 of 100, 0:40 left, loss 2.5",
        "[1:40] answering, image: 90 of 100, 0:10 left, loss 2.5",
    ]


def test_steps_may_go_without_lines_of_their_own() -> None:
    clock, file = FakeClock(), io.StringIO()
    progress = LineProgress(file, steps=False, clock=clock)
    for step in range(10):  # none of which takes as long as the silence may
        progress.step(f"step {step}")
        for done in range(4):
            clock.pass_by(5)
            progress.advance(done, 4)
    assert [line.split()[0] for line in file.getvalue().splitlines()] == [
        *("[0:30]", "[1:00]", "[1:30]", "[2:00]", "[2:30]", "[3:00]")
    ]


def test_what_costs_something_to_say_is_asked_for_only_when_it_is_shown() -> None:
    clock = FakeClock()
    asked = []
    for progress in (LineProgress(io.StringIO(), clock=clock), BarProgress(lambda *shown: None, clock)):
        for done in range(1, 50):
            progress.advance(done, 100, lambda: str(asked.append(1)))
        assert not asked


def test_a_bar_is_not_redrawn_at_every_call() -> None:
    clock = FakeClock()
    drawn: list[tuple[str, int | None, int | None, str]] = []
    progress = BarProgress(lambda *shown: drawn.append(shown), clock)
    progress.step("epoch 1/2, step")
    for done in range(1, 101):
        clock.pass_by(0.1)
        progress.advance(done, 100, "loss 2.5")
    assert drawn[0] == ("epoch 1/2, step", None, None, "")
    assert 30 < len(drawn) < 40
    assert drawn[10] == ("epoch 1/2, step", 30, 100, "0:07 left; loss 2.5")
    assert drawn[-1] == ("epoch 1/2, step", 100, 100, "loss 2.5")


def test_a_thread_runs_only_inside_of_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    progress = LineProgress(file, every=0.0)
    seen = threading.Event()
    monkeypatch.setattr(progress._ticker, "_tick", seen.set)
    monkeypatch.setattr(progress._ticker, "_seconds", 0.001)
    before = threading.active_count()
    with progress.unattended():
        with progress.unattended():
            assert threading.active_count() == before + 1
        assert threading.active_count() == before + 1
        assert seen.wait(30)
    assert threading.active_count() == before


def test_quiet_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as screen:
        with showing_progress(quiet=True) as progress:
            assert progress is SILENT
            progress.step("training")
            progress.advance(1, 2)
        assert screen.getvalue() == ""


def test_a_terminal_gets_a_bar_and_printed_lines_stand_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as screen:
        monkeypatch.setattr(sys, "stdout", screen)
        with showing_progress() as progress:
            progress.step("epoch 1/2, step")
            progress.advance(2, 2, "loss 2.5")
            print("epoch 1/2  loss 2.5")
        shown = screen.getvalue()
    assert "epoch 1/2, step" in shown
    assert "2/2" in shown
    assert "━" in shown
    assert "epoch 1/2  loss 2.5\n" in shown


def test_a_file_gets_what_is_printed_while_the_terminal_has_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    with terminal(monkeypatch) as screen:
        monkeypatch.setattr(sys, "stdout", file)
        with showing_progress() as progress:
            progress.advance(1, 2)
            print("the record")
        assert "the record" not in screen.getvalue()
    assert file.getvalue() == "the record\n"


LONG = (
    "train",
    "compare",
    "profile",
    "export",
    "build",
    "calibrate",
    "evaluate",
    "classify",
    "bench",
    "images",
    "data check",
)


@pytest.mark.parametrize("name", LONG)
def test_every_long_command_can_be_quiet(name: str) -> None:
    command = typer.main.get_command(app)
    for part in name.split():
        command = command.commands[part]  # type: ignore[attr-defined]
    assert "--quiet" in [flag for option in command.params for flag in option.opts]


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    yield screen
