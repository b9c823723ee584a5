"""Commands whose standard streams are closed, or whose current folder is gone, as under a daemon."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")


def run(script: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        ["sh", "-c", script], capture_output=True, text=True, timeout=120, check=False, **options
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("command", ["calibrate", "inspect"])
def test_closed_streams_end_no_command(own_bundle: Path, closed: str, command: str) -> None:
    found = run(f"{sys.executable} -m edgemate {command} {own_bundle} {closed}")
    assert found.returncode == 0
    assert "rror" not in found.stderr


def test_a_file_does_not_get_the_number_of_standard_output(own_bundle: Path, tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    options = f"--repeats 3 --warmup 1 --threads 1 --output {output}"
    assert run(f"{sys.executable} -m edgemate bench {own_bundle} {options} >&-").returncode == 0
    assert output.read_text().startswith("{")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a folder in use cannot be deleted there")
def test_a_deleted_folder_is_one_line(own_bundle: Path, tmp_path: Path) -> None:
    command = f"{sys.executable} -m edgemate bundle pack {own_bundle} packed.tar"
    found = run(f"mkdir gone; cd gone; rmdir ../gone; {command}", cwd=tmp_path)
    assert found.returncode == 2
    assert found.stderr.splitlines()[-1] == "error: the current folder was deleted; change to another one"
    assert "Traceback" not in found.stderr
