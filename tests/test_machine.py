from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edgemate import machine
from edgemate.machine import free_memory, machine_metadata, package_version, processor, usable_cores


def test_metadata_are_there_and_go_into_json() -> None:
    metadata = json.loads(json.dumps(machine_metadata(("numpy", "no-such-package"))))
    assert {"edgemate", "processor", "cores", "system", "python", "numpy"} == metadata.keys()
    assert all(metadata.values())


def test_only_cores_this_process_may_use_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7}, raising=False)
    assert usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == os.cpu_count()


@pytest.mark.parametrize(
    ("cpuinfo", "model", "shown"),
    [
        ("processor : 0\nmodel name\t: Some CPU @ 2 GHz\n", None, "Some CPU @ 2 GHz"),
        ("processor : 0\nCPU part : 0xd42\n", "NVIDIA Jetson Orin Nano\0", "NVIDIA Jetson Orin Nano"),
    ],
)
def test_the_processor_is_named_as_people_name_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cpuinfo: str, model: str | None, shown: str
) -> None:
    (tmp_path / "proc" / "device-tree").mkdir(parents=True)
    (tmp_path / "proc" / "cpuinfo").write_text(cpuinfo)
    if model is not None:
        (tmp_path / "proc" / "device-tree" / "model").write_text(model)
    monkeypatch.setattr(machine, "Path", lambda path: tmp_path / str(path).lstrip("/"))
    assert processor() == shown


def test_a_system_without_proc_has_a_processor_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "Path", lambda path: tmp_path / "absent")
    assert processor()


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
