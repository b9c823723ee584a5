"""Hostile and damaged files of every kind end in an answer or in one of edgemate's own errors."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from fuzzing.worker import run_cases

from edgemate.errors import UsageError

RUN = Path(__file__).with_name("run.py")


@pytest.mark.fuzz
@pytest.mark.skipif(find_spec("onnx") is None or find_spec("onnxruntime") is None, reason="needs onnx and onnxruntime")
def test_a_thousand_cases_pass() -> None:
    done = subprocess.run([sys.executable, RUN, "--cases", "1000"], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1000 cases, 0 failed" in done.stdout


def hang(random, folder: Path) -> None:
    while True:
        pass


def fill(random, folder: Path) -> None:
    bytearray(2 << 30)


def crash(random, folder: Path) -> None:
    import ctypes

    ctypes.string_at(0)


def fail(random, folder: Path) -> None:
    raise KeyError("a")


def refuse(random, folder: Path) -> None:
    raise UsageError("this is how it must end")


def chat(random, folder: Path) -> None:
    os.write(1, b"EP Error")  # as a library does; pytest replaces what `print` writes to


def test_each_kind_of_failure_is_found_and_ends_no_other_case() -> None:
    targets = {kind.__name__: kind for kind in (hang, fill, crash, fail, refuse, chat)}
    found = {target: failure for target, _, failure in run_cases(targets, [(name, 3) for name in targets], jobs=2)}
    assert found.pop("refuse") is None
    reasons = {target: failure.reason for target, failure in found.items()}
    assert {failure.seed for failure in found.values()} == {3}
    assert "5 s of processor time" in reasons["hang"]
    assert "MemoryError" in reasons["fill"]
    assert "SIGSEGV" in reasons["crash"]
    assert "KeyError: 'a'" in reasons["fail"]
    assert "EP Error" in reasons["chat"]
