"""The wheel that a device gets: it installs with the base dependencies alone, and has what the code looks for."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COPIED = ("edgemate", "recipes", "pyproject.toml", "README.md", "LICENSE")


def ran(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_make_wheel_builds_it_from_nothing_old() -> None:
    told = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nwheel: install\n")[2].partition("\n\n")[0]
    assert "rm -rf build/lib" in told
    assert "pip wheel" in told
    assert "--no-deps --wheel-dir dist ." in told


@pytest.mark.slow
def test_the_wheel_installs_in_a_fresh_environment(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in COPIED:  # as in a fresh checkout; a build leaves files beside the source
        found = ROOT / name
        if found.is_dir():
            shutil.copytree(found, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(found, source / name)
    ran(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "dist", ".", cwd=source)
    [wheel] = (source / "dist").glob("edgemate-*-py3-none-any.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    code = {path.relative_to(ROOT).as_posix() for path in (ROOT / "edgemate").rglob("*.py")}
    assert code <= names
    recipes = {path.relative_to(ROOT).as_posix() for path in (ROOT / "recipes").rglob("*.yaml")}
    assert {name.partition("/share/edgemate/")[2] for name in names} >= recipes

    environment = tmp_path / "environment"
    ran(sys.executable, "-m", "venv", environment, cwd=tmp_path)
    python, command = environment / "bin" / "python", environment / "bin" / "edgemate"
    ran(python, "-m", "pip", "install", "--quiet", wheel, cwd=tmp_path)
    assert "digits/resnet8_mate" in ran(command, "recipes", "list", cwd=tmp_path)
    assert "edgemate run" in ran(command, "run", "--help", cwd=tmp_path)
    ran(command, "doctor", cwd=tmp_path)
    installed = ran(python, "-m", "pip", "list", cwd=tmp_path)
    found = {line.split()[0] for line in installed.splitlines()}
    assert not {"torch", "onnx", "onnxruntime", "av", "cuda-bindings"} & found
