"""On a machine without a GPU, with a TensorRT installed that would end the process: one line, exit code 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgemate.bundle import Bundle
from edgemate.runtime.gpus import find_gpus

pytestmark = pytest.mark.skipif(bool(find_gpus()), reason="this machine has a GPU")

# What a real one does without a device.
KILLER = """
import os
__version__ = "8.6.1"
os.abort()
"""

# The lean runtime stands for the whole library: opening an engine without a device ends the process as well.
LEAN_PACKAGES = ("tensorrt-lean-cu13-bindings==11.4.0.106", "tensorrt-lean-cu13-libs==11.4.0.106")
LEAN = "from tensorrt_lean_bindings import *\nfrom tensorrt_lean_bindings import __version__\n"


def edgemate(packages: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgemate", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(packages), os.environ.get("PYTHONPATH", "")])},
        check=False,
    )


def must_end_in_one_line(packages: Path, bundle: Bundle, folder: Path) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "black.png")
    commands = (
        ("build", bundle.path),
        ("classify", bundle.path, folder / "black.png", "--backend", "tensorrt"),
        ("bench", bundle.path, "--backend", "tensorrt"),
        ("doctor",),
    )
    for command in commands:
        ended = edgemate(packages, *command)
        assert ended.returncode == 2, (command, ended)
        assert ended.stderr.startswith("error: TensorRT")
        assert "needs an NVIDIA GPU and its driver, and none is found on this machine" in ended.stderr
        assert ended.stderr.count("\n") == 1
    assert json.loads(edgemate(packages, "doctor", "--json").stdout)["tensorrt"][0]["problem"]


def test_a_library_that_ends_the_process_is_not_touched(tmp_path: Path, small_bundle: Bundle) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "tensorrt.py").write_text(KILLER)
    assert subprocess.run([sys.executable, packages / "tensorrt.py"], check=False).returncode < 0
    must_end_in_one_line(packages, small_bundle, tmp_path)


@pytest.mark.slow
@pytest.mark.tensorrt
@pytest.mark.skipif(sys.platform != "linux" or os.uname().machine != "x86_64", reason="its wheel is for Linux x86_64")
def test_the_real_lean_runtime_is_not_touched(tmp_path: Path, small_bundle: Bundle) -> None:
    packages = tmp_path / "packages"
    got = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--target", packages, *LEAN_PACKAGES],
        capture_output=True,
        text=True,
        check=False,
    )
    if got.returncode:
        pytest.skip(f"the lean runtime is unavailable: {got.stderr.splitlines()[-1]}")
    (packages / "tensorrt.py").write_text(LEAN)
    opening = "import tensorrt as t; t.Runtime(t.Logger()).deserialize_cuda_engine(bytes(64))"
    died = subprocess.run(
        [sys.executable, "-c", opening],
        env=os.environ | {"PYTHONPATH": str(packages)},
        capture_output=True,
        check=False,
    )
    assert died.returncode < 0, died.stderr.decode()  # else this proves nothing
    must_end_in_one_line(packages, small_bundle, tmp_path)
