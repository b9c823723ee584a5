"""Text from files reaches the terminal only escaped: names, labels, paths and messages, in tables and in JSON."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
from pathlib import Path
from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

import edgemate.cli
from edgemate.cli import main as main_module
from edgemate.cli.console import make_console, print_table
from edgemate.cli.main import main
from edgemate.cli.progress import LineProgress
from edgemate.cli.screen import print_json, printable, say
from edgemate.errors import DataError, EdgemateError, RecipeError, UsageError

HOSTILE = "\x1b[2J\x1b]0;title\x07cat\r\n\x9b31m\u202egnp.exe\u2066\u2028\x7f\x00\ufeff\U000e0041"
JOINERS = "\u200c\u200d"
anything = st.text(st.characters(codec=None), max_size=40)
hostile = st.text(st.sampled_from([*HOSTILE, "a", " ", "猫", *JOINERS, "\udc80"]), min_size=1, max_size=30)


def is_harmless(shown: str) -> bool:
    """No control or format character but the line ends between lines, and the joiners of some scripts."""
    return all(one in "\n" + JOINERS or category(one) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for one in shown)


def shown_by(call: object, monkeypatch: pytest.MonkeyPatch | None = None) -> str:
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "stderr", stream)
        call()  # type: ignore[operator]
    return stream.getvalue()


@given(anything)
def test_printable_text_is_one_harmless_line_and_stays_so(text: str) -> None:
    shown = printable(text)
    assert is_harmless(shown)
    assert "\n" not in shown
    assert printable(shown) == shown
    if is_harmless(text) and "\n" not in text:
        assert shown == text


@given(st.lists(hostile, min_size=1, max_size=3))
def test_lines_stay_as_many_as_were_printed(lines: list[str]) -> None:
    for call in (lambda: say(*lines), lambda: [make_console().out(line) for line in lines]):
        shown = shown_by(call)
        assert is_harmless(shown)
        assert shown.count("\n") == len(lines)


@given(hostile, hostile)
def test_what_a_console_prints_is_harmless(one: str, other: str) -> None:
    for call in (
        lambda: make_console().print(one, other),
        lambda: make_console(stderr=True).out(one, other, style="bold"),
        lambda: make_console().print(one, soft_wrap=True),
    ):
        assert is_harmless(shown_by(call))


@given(hostile, hostile, hostile)
def test_every_part_of_a_table_is_harmless(title: str, header: str, cell: str) -> None:
    table = Table(title=title, caption=cell)
    table.add_column(header)
    table.add_column("text", overflow="fold")
    table.add_row(cell, Text(cell, "bold"))
    shown = shown_by(lambda: print_table(table, make_console()))
    assert is_harmless(shown)
    plain = Table(title="t", caption="c")
    plain.add_column("h")
    plain.add_column("text", overflow="fold")
    plain.add_row("c", Text("c"))
    assert shown.count("\n") == shown_by(lambda: print_table(plain, make_console())).count("\n")


@given(hostile, st.sampled_from([None, 2]))
def test_json_is_harmless_and_the_same(text: str, indent: int | None) -> None:
    shown = shown_by(lambda: print_json({text: [text]}, indent))
    assert is_harmless(shown)
    assert json.loads(shown) == {text: [text]}


@given(hostile)
def test_progress_is_harmless(text: str) -> None:
    stream = io.StringIO()
    progress = LineProgress(stream, every=0)
    progress.step(text)
    progress.advance(1, 2, text)
    assert is_harmless(stream.getvalue())


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (UsageError(f"{HOSTILE}: no such file"), 1),
        (RecipeError(HOSTILE, [f"data.name: {HOSTILE}"]), 1),
        (RecipeError(HOSTILE, [f"one: {HOSTILE}", f"two: {HOSTILE}"]), 3),
        (DataError(f"damaged {HOSTILE}", [HOSTILE, HOSTILE]), 3),
        (FileNotFoundError(2, "No such file", HOSTILE), 1),
    ],
)
def test_an_error_is_told_in_its_own_lines(
    error: Exception, lines: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(main_module, "app", fail)
    monkeypatch.setattr(main_module.typer.main, "get_command", lambda app: None)
    monkeypatch.setattr(main_module, "name_flags", lambda line, command, arguments: line)
    with pytest.raises(SystemExit):
        main()
    shown = capsys.readouterr().err
    assert is_harmless(shown)
    assert shown.count("\n") == lines
    if isinstance(error, EdgemateError):
        assert "\n".join(error.lines) == str(error)


def test_wrong_usage_is_told_harmlessly(tmp_path: Path) -> None:
    for arguments in ([f"--{HOSTILE}"], ["inspect", f"--{HOSTILE}"], [HOSTILE], ["inspect", str(tmp_path), HOSTILE]):
        shown = subprocess.run(
            [sys.executable, "-m", "edgemate", *(one.replace("\0", "") for one in arguments)],
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert shown.returncode == 2
        assert is_harmless((shown.stdout + shown.stderr).decode())


def test_a_hostile_bundle_is_shown_harmlessly(own_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from commands import invoke

    from edgemate.cli.inspect import inspect

    manifest = json.loads((own_bundle / "bundle.json").read_text())
    manifest["name"] = HOSTILE
    manifest["classes"] = [f"{HOSTILE}{k}" for k in range(len(manifest["classes"]))]
    manifest["tools"] = {HOSTILE: HOSTILE}
    manifest["source"] = {HOSTILE: HOSTILE}
    for exit in manifest["exits"]:
        exit["name"] = HOSTILE
    (own_bundle / "bundle.json").write_text(json.dumps(manifest))
    for options in ((), ("--json",)):
        shown = invoke(inspect, own_bundle, *options)
        assert shown.exit_code == 0, shown.output
        assert is_harmless(shown.output)


def test_nothing_is_printed_past_it() -> None:
    """No command prints by other means than `say`, `print_json` and the console."""
    folder = Path(edgemate.cli.__file__).parent
    found = []
    for file in sorted(folder.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if name in ("print", "typer.echo", "typer.secho", "sys.stdout.write", "sys.stderr.write", "Console"):
                    found.append((file.name, name))
    assert found == [("screen.py", "print")] * 2
