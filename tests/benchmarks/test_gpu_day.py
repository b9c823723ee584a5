"""benchmarks/gpu/day.sh, as far as it goes without a GPU and without minutes of training."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from scripts import BENCHMARKS

DAY = BENCHMARKS / "gpu" / "day.sh"


def day(folder: Path, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"KIT": str(folder), "RUNS": str(folder / "runs"), "RESULTS": str(folder / "results")}
    return subprocess.run([str(DAY), *words], env=environment, capture_output=True, text=True, check=check)


def test_the_timetable_is_one_of_thirty_minutes_and_tells_the_size_of_the_parts(tmp_path: Path) -> None:
    parts = tmp_path / "day" / "parts" / "data"
    parts.mkdir(parents=True)
    for part, mib in (("data.00", 2), ("data.01", 1)):
        (parts / part).write_bytes(bytes(mib << 20))
    said = day(tmp_path, "--timetable").stdout
    rows = re.findall(r"^ *([\d.]+) \| *([\d.]+)  \|", said, re.MULTILINE)
    ends = [float(at) + float(takes) for at, takes in rows]
    assert len(rows) >= 13
    assert max(ends) == pytest.approx(30)
    for (_, takes), end, (begins, _) in zip(rows, ends, rows[1:], strict=False):
        assert float(takes) <= 10
        assert end == pytest.approx(float(begins))
    assert re.search(r"data: CIFAR-100 +\| +2 \| +3\.0$", said, re.MULTILINE)
    assert "not prepared" in said
    assert "upload altogether: 3.0 MiB" in said


def test_a_damaged_part_is_refused(tmp_path: Path) -> None:
    parts = tmp_path / "day" / "parts" / "data"
    parts.mkdir(parents=True)
    (parts / "data.00").write_text("something")
    (parts / "SHA256SUMS").write_text("0" * 64 + "  data.00\n")
    done = day(tmp_path, "data", check=False)
    assert done.returncode != 0
    assert "data.00: FAILED" in done.stdout


def test_an_unknown_step_shows_how_it_is_used(tmp_path: Path) -> None:
    done = day(tmp_path, "dance", check=False)
    assert done.returncode == 2
    assert "--timetable" in done.stdout


@pytest.mark.slow
def test_the_whole_day_on_little_data(tmp_path: Path) -> None:
    environment = os.environ | {"KIT": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(DAY), "--rehearse"], env=environment, capture_output=True, text=True, check=False)
    if "Could not find a version" in done.stderr or "No matching distribution" in done.stderr:
        pytest.skip("the package index cannot be reached, so no wheels can be collected")
    assert done.returncode == 0, done.stderr[-2000:]
    results = {path.name for path in (tmp_path / "rehearsed" / "results").iterdir()}
    assert {
        "cifar100_resnet18.json",
        "cifar100_resnet18.md",
        "early_exit_torch_cpu.json",
        "train_throughput_cpu.json",
        "step_cost_cpu.json",
    } <= results
