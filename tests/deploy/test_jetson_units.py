"""The systemd units and the Dockerfile name commands and options that exist, and files that are there."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import typer

from edgemate.cli.main import app

JETSON = Path(__file__).parents[2] / "deploy" / "jetson"
UNITS = sorted(JETSON.glob("*.service"))


def commands(unit: Path) -> list[list[str]]:
    lines = unit.read_text(encoding="utf-8").splitlines()
    return [shlex.split(line.partition("=")[2]) for line in lines if line.startswith("ExecStart")]


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_starts_a_command_with_options_that_it_has(unit: Path) -> None:
    [[program, verb, *arguments]] = commands(unit)
    assert program == "/opt/edgemate/bin/edgemate"
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}
    comment = re.findall(r'OPTIONS="([^"]+)"', unit.read_text(encoding="utf-8"))
    used = {word for word in [*arguments, *" ".join(comment).split()] if word.startswith("--")}
    assert used <= known
    assert used


def test_the_service_neither_builds_nor_proves_engines_when_it_starts() -> None:
    text = (JETSON / "edgemate.service").read_text(encoding="utf-8")
    assert "ExecStartPre" not in text
    assert commands(JETSON / "edgemate.service")[0][1] == "run"
    assert commands(JETSON / "edgemate-build.service")[0][1] == "build"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_reads_a_unit(unit: Path) -> None:
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60, check=False)
    assert not [line for line in done.stderr.splitlines() if "Unknown" in line or "Failed to parse" in line]


def test_the_container_gets_the_wheel_and_nvidias_packages() -> None:
    text = (JETSON / "Dockerfile").read_text(encoding="utf-8")
    assert text.index("repo.download.nvidia.com/jetson/common") < text.index("install -y --no-install-recommends")
    assert "COPY dist/edgemate-*.whl" in text
    for name in ("Dockerfile", "edgemate.service", "edgemate-build.service"):
        assert "cuda-bindings" not in (JETSON / name).read_text(encoding="utf-8")
