from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgemate import durable, files

fcntl = pytest.importorskip("fcntl")

HOLD = """
import sys, time
from pathlib import Path
from edgemate import durable, files
with durable.whole_file(Path(sys.argv[1])) as target:
    target.write(b"half")
    target.flush()
    print("writing", flush=True)
    time.sleep(60)
"""


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if durable.is_leftover(path)]


def test_a_file_and_its_folder_are_synced_before_the_write_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    sync, replace = os.fsync, Path.replace

    def fsync(handle: int) -> None:
        calls.append(f"sync {Path(f'/proc/self/fd/{handle}').readlink().name.partition('.part')[1] or 'folder'}")
        sync(handle)

    def replacing(self: Path, target: Path) -> Path:
        calls.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replacing)
    files.write_bytes(tmp_path / "a", b"content")
    assert calls == ["sync .part", "rename", "sync folder"]
    calls.clear()
    files.write_bytes(tmp_path / "deep" / "down" / "a", b"content")
    assert calls == ["sync folder", "sync folder", "sync .part", "rename", "sync folder"], "new folders are entries too"


def test_leftovers_of_a_killed_process_go_and_those_of_a_running_one_stay(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "a")], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            assert len(leftovers(tmp_path)) == 1
            durable.remove_leftovers(tmp_path)
            assert len(leftovers(tmp_path)) == 1, "its process runs"
        finally:
            process.kill()
    durable.remove_leftovers(tmp_path, "b")
    assert len(leftovers(tmp_path)) == 1, "it is of another file"
    durable.remove_leftovers(tmp_path, "a")
    assert list(tmp_path.iterdir()) == []


def test_folders_and_files_of_earlier_versions_are_leftovers_and_hidden_files_of_others_are_not(tmp_path: Path) -> None:
    (tmp_path / ".bundle.1a2b3c4d.part" / "onnx").mkdir(parents=True)
    (tmp_path / ".history.csv.ab_d3fgh.part").write_text("")
    for name in (".bashrc", ".a.part", ".report.part", "a.1a2b3c4d.part", ".orin_sm87_trt10.3.0.part"):
        (tmp_path / name).write_text("")
    durable.remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".a.part",
        ".bashrc",
        ".orin_sm87_trt10.3.0.part",
        ".report.part",
        "a.1a2b3c4d.part",
    ]


def test_a_leftover_that_is_a_link_or_a_pipe_harms_nothing(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "a").write_text("x")
    (tmp_path / ".a.0123456789abcdef.part").symlink_to(tmp_path / "precious")
    os.mkfifo(tmp_path / ".b.0123456789abcdef.part")
    started = time.monotonic()
    durable.remove_leftovers(tmp_path)
    assert time.monotonic() - started < 5
    assert (tmp_path / "precious" / "a").read_text() == "x"


def test_a_part_that_another_process_took_for_a_leftover_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, taken = fcntl.flock, []

    def flock(handle: int, operation: int) -> None:
        if not taken:
            (part,) = leftovers(tmp_path)
            part.unlink()
            taken.append(part)
        lock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    files.write_bytes(tmp_path / "a", b"content")
    assert (tmp_path / "a").read_bytes() == b"content"
    assert taken
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_whoever_writes_a_file_again_removes_what_a_killed_process_left_of_it(tmp_path: Path) -> None:
    (tmp_path / ".a.0123456789abcdef.part").write_text("half")
    (tmp_path / ".b.0123456789abcdef.part").write_text("half")
    files.write_text(tmp_path / "a", "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.0123456789abcdef.part", "a"]
