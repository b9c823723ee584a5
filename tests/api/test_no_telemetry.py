"""No library tells anybody what runs here."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest


def telemetry(home: Path, **variables: str) -> str:
    command = "import os, edgemate, onnxruntime; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    kept = {
        name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    }
    return subprocess.run(
        [sys.executable, "-c", command],
        env=kept | {"HOME": str(home), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.strip()


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs onnxruntime")
def test_onnx_runtime_keeps_no_identifier_and_reports_nothing(tmp_path: Path) -> None:
    assert telemetry(tmp_path) == "1"
    assert list(tmp_path.rglob("*deviceid*")) == []


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs onnxruntime")
def test_who_wants_it_can_say_so(tmp_path: Path) -> None:
    assert telemetry(tmp_path, ORT_DISABLE_TELEMETRY="0") == "0"
