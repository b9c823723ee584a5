from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import invoke
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.table import Table

import edgemate.cli
from edgemate.cli.console import make_console, print_table
from edgemate.cli.inspect import inspect

NAME = "a-rather-long-name-that-no-narrow-screen-holds [red]not red[/red] :smile: " + "x" * 60


class Screen(io.StringIO):
    """A terminal of 40 columns."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm-256color")
    return Screen()


def table_of(*names: str) -> Table:
    table = Table(title=f"{names[0]}: title", title_justify="left")
    table.add_column("name")
    table.add_column("a rather long header of figures", justify="right")
    for name in names:
        table.add_row(name, "1")
    return table


def test_a_pipe_gets_whole_names_on_one_line_and_no_styles(capsys: pytest.CaptureFixture[str]) -> None:
    console = make_console()
    console.out(NAME, style="bold")
    print_table(table_of(NAME), console)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "…" not in shown
    lines = shown.splitlines()
    assert lines[0] == NAME
    assert lines[1] == f"{NAME}: title"
    assert any(line.split("│")[1].strip() == NAME for line in lines if "│" in line)


def test_names_are_whole_on_a_narrow_terminal_too(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", screen)
    print_table(table_of(NAME, "short"), make_console())
    lines = screen.getvalue().splitlines()
    assert [line.split("│")[1].strip() for line in lines if "│" in line] == [NAME, "short"]
    assert "a rather long header" not in screen.getvalue(), "headers wrap"


def test_a_terminal_gets_styles_unless_no_color_is_set(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", screen)
    make_console().out("x", style="bold red")
    assert "\x1b[" in screen.getvalue()
    screen.truncate(0)
    monkeypatch.setenv("NO_COLOR", "1")  # which rich takes for bold without red
    make_console().out("x", style="bold red")
    assert "\x1b" not in screen.getvalue()


@given(st.lists(st.text(st.characters(categories=("L", "N", "P", "S"), max_codepoint=0x2FF), min_size=1), min_size=1))
def test_any_name_is_printed_as_it_is(names: list[str]) -> None:
    names = [name.replace("│", "|") for name in names]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", shown := io.StringIO())
        print_table(table_of(*names), make_console())
    rows = [line.split("│")[1].strip() for line in shown.getvalue().splitlines() if "│" in line]
    assert rows == names


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}])
def test_classify_names_its_files_whole_in_a_pipe(own_bundle: Path, tmp_path: Path, variables: dict[str, str]) -> None:
    pytest.importorskip("onnxruntime")
    image = tmp_path / ("long-" * 30 + "[bold]x[_bold].png")
    Image.new("RGB", (8, 8)).save(image)
    shown = subprocess.run(
        [sys.executable, "-m", "edgemate", "classify", str(own_bundle), str(image), "--threads", "1"],
        env=os.environ | {"COLUMNS": "60"} | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    assert str(image) in shown
    assert "\x1b" not in shown


def test_a_bundle_with_brackets_in_its_name_is_named_as_it_is(own_bundle: Path) -> None:
    renamed = own_bundle.rename(own_bundle.parent / "[bold]b :car:")
    result = invoke(inspect, renamed)
    assert result.exit_code == 0, result.output
    assert f"edgemate build {renamed}" in result.stdout


def test_every_command_prints_on_that_console() -> None:
    folder = Path(edgemate.cli.__file__).parent
    makers = [file.name for file in folder.glob("*.py") if "Console(" in file.read_text(encoding="utf-8")]
    assert sorted(makers) == ["console.py", "escaping_console.py"]
