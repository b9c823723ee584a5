"""`make gpu`: its script on a CPU, and what it says where there is no GPU."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "gpu_kit" / "checks.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=300)


def test_it_times_every_way_and_compares_their_logits(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    result = run("--rehearse", "--repeats", "5", "--output", str(tmp_path))
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "checks.json").read_text())
    assert found["failures"] == {}
    assert set(found["results"]) == {"whole network, one graph", "segments, exit 1", "segments, exit 4"}
    assert all(latency["p50"] > 0 for latency in found["results"].values())


def test_without_a_gpu_it_ends_in_one_line(tmp_path: Path) -> None:
    from edgemate.runtime.backends.tensorrt.device import find_device

    if find_device() is not None:
        pytest.skip("there is a GPU")
    result = run("--output", str(tmp_path))
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "no NVIDIA GPU" in result.stderr


def test_every_test_that_needs_a_gpu_is_named_in_the_table() -> None:
    table = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    marked = [
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if re.search(r"^(pytestmark|@pytest).*mark\.gpu", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    ]
    assert marked
    assert [path for path in marked if path not in table] == []
