from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemate.cli.screen import print_json, printable, replace_unencodable


def screen(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@given(label=st.text(st.characters(codec=None)), indent=st.sampled_from([None, 2]))
def test_json_comes_through_whole_whatever_the_screen_can_take(encoding: str, label: str, indent: int | None) -> None:
    taken = screen(encoding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", taken)
        print_json({"label": label}, indent)
    assert json.loads(taken.buffer.getvalue().decode(encoding)) == {"label": label}  # type: ignore[attr-defined]


def test_readable_json_where_the_screen_can_take_it(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"label": "Käfer"}, indent=None)
    assert capsys.readouterr().out == '{"label": "Käfer"}\n'


def test_a_character_that_cannot_be_shown_is_a_question_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = screen("ascii")
    monkeypatch.setattr(sys, "stdout", taken)
    replace_unencodable()
    print("1.5 × faster", flush=True)
    assert taken.buffer.getvalue() == b"1.5 ? faster\n"  # type: ignore[attr-defined]


def test_a_command_works_on_an_ascii_screen(own_bundle: Path) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "edgemate", "inspect", str(own_bundle)],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert b"exit" in shown.stdout


def test_control_characters_of_a_name_are_written_out() -> None:
    assert printable("a\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe\x9b31m\ufeff\udc80") == "a\\u202egnp.exe\\x9b31m\\ufeff\\udc80"
    assert printable("a\nb\x1b[31m\u2028c.png") == "a\\nb\\x1b[31m\\u2028c.png"
    assert printable("Zoë \N{ZERO WIDTH NON-JOINER}猫 [x].png") == "Zoë \N{ZERO WIDTH NON-JOINER}猫 [x].png"
