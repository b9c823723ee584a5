from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_tree import write_tree

from edgemate import machine
from edgemate.machine import (
    board,
    free_memory,
    machine_metadata,
    nominal_gib,
    package_version,
    processor,
    usable_cores,
)


def test_metadata_are_there_and_go_into_json() -> None:
    metadata = json.loads(json.dumps(machine_metadata(("numpy", "no-such-package"))))
    assert {"edgemate", "processor", "cores", "memory_gib", "system", "python", "numpy"} == metadata.keys()
    assert all(metadata.values())


def test_only_cores_this_process_may_use_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7}, raising=False)
    assert usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == os.cpu_count()


@pytest.mark.parametrize(
    ("files", "shown"),
    [
        ({"proc/cpuinfo": "processor : 0\nmodel name\t: Some CPU @ 2 GHz"}, "Some CPU @ 2 GHz"),
        ({"proc/cpuinfo": "model name\t: ARMv8 Processor rev 1 (v8l)"}, "ARMv8 Processor rev 1 (v8l)"),
        (
            {
                "proc/cpuinfo": "processor : 0\nmodel name\t: ARMv8 Processor rev 1 (v8l)",
                "proc/device-tree/model": "NVIDIA Jetson Orin Nano\0",
            },
            "NVIDIA Jetson Orin Nano",
        ),
        ({"proc/cpuinfo": "model name\t: Some CPU", "proc/device-tree/model": "\0"}, "Some CPU"),
    ],
)
def test_the_processor_is_named_by_the_board_where_there_is_one(
    tmp_path: Path, files: dict[str, str], shown: str
) -> None:
    assert processor(write_tree(tmp_path, files)) == shown


def test_a_system_without_proc_has_a_processor_too(tmp_path: Path) -> None:
    assert processor(tmp_path)
    assert board(tmp_path) is None


@pytest.mark.parametrize(
    ("reported", "nominal"),
    [
        (61.4, 64),
        (62.8, 64),
        (29.7, 32),
        (15.3, 16),
        (7.4, 8),
        (3.6, 4),
        (122.8, 128),
        (23.6, 24),
        (11.8, 12),
        (0.5, 1),
    ],
)
def test_memory_is_what_is_sold_whatever_the_kernel_keeps(reported: float, nominal: int) -> None:
    assert nominal_gib(int(reported * 2**30)) == nominal


@given(st.integers(min_value=1, max_value=2**44))
def test_nominal_memory_is_at_least_what_is_reported_and_at_most_a_quarter_more(size: int) -> None:
    assert size <= nominal_gib(size) * 2**30 <= max(1.25 * size + 2**30, 2**30)


def test_versions_come_from_metadata() -> None:
    assert package_version("numpy")
    assert package_version("no-such-package") is None


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, 8 << 30),
        ({"memory.max": "max\n", "memory.current": "1024\n"}, 8 << 30),
        ({"memory.max": f"{3 << 30}\n", "memory.current": f"{1 << 30}\n"}, 2 << 30),  # of a container, cgroup v2
        ({"memory/memory.limit_in_bytes": f"{2 << 30}\n", "memory/memory.usage_in_bytes": f"{1 << 30}\n"}, 1 << 30),
        ({"memory.max": "1024\n", "memory.current": "4096\n"}, 0),
    ],
)
def test_free_memory_is_what_the_system_and_the_container_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, str], expected: int
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:       24000000 kB\nMemAvailable:   8388608 kB\n")
    for name, content in limits.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "CGROUP", tmp_path / "cgroup")
    assert free_memory() == expected
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "none")
    monkeypatch.setattr(machine, "CGROUP", tmp_path / "none")
    assert free_memory() is None
