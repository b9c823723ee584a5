"""Starting and watching processes. They are small Python programs, which import no torch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgemate.distributed import launching
from edgemate.distributed.launching import run_ranks
from edgemate.distributed.world import World
from edgemate.errors import DataError, TrainingError

TWO = World(ranks=2, local_ranks=2)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "_POLL_SECONDS", 0.02)
    monkeypatch.setattr(launching, "_LAST_WORDS_SECONDS", 1.0)


def program(body: str) -> list[str]:
    """A program with `rank`, and `report` to hand on an error; it ends with the process that started it."""
    start = (
        "import json, os, pathlib, signal, sys, time\n"
        "from edgemate.distributed.launching import end_with_parent\n"
        "end_with_parent()\n"
        "rank = int(os.environ['RANK'])\n"
        "def report(kind, message):\n"
        "    said = json.dumps({'kind': kind, 'message': message})\n"
        "    pathlib.Path(os.environ['EDGEMATE_RANK_REPORT']).write_text(said)\n"
        "    os._exit(2)\n"
    )
    return [sys.executable, "-c", start + body]


def test_processes_know_their_place(tmp_path: Path) -> None:
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT", "MINE")
    body = f"(pathlib.Path({str(tmp_path)!r}) / str(rank)).write_text(json.dumps([os.environ[n] for n in {names}]))"
    run_ranks(program(body), TWO, environment={"MINE": "here"})
    found = [json.loads((tmp_path / str(rank)).read_text()) for rank in range(2)]
    assert found[0][:6] == ["0", "0", "2", "2", "0", "127.0.0.1"]
    assert found[1][:6] == ["1", "1", "2", "2", "0", "127.0.0.1"]
    assert found[0][6:] == found[1][6:]
    assert found[0][7] == "here"


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_is_named_and_the_others_end(rank: int) -> None:
    started = time.monotonic()
    body = f"os.kill(os.getpid(), signal.SIGKILL) if rank == {rank} else time.sleep(300)"
    with pytest.raises(TrainingError, match=rf"^rank {rank} of 2 \(process \d+\) was killed by SIGKILL; all"):
        run_ranks(program(body), TWO)
    assert time.monotonic() - started < 60


def test_an_error_that_is_reported_is_raised_as_it_is() -> None:
    body = "report('DataError', 'it is not there') if rank else report('LostRankError', 'the other one is gone')"
    with pytest.raises(DataError, match=r"^it is not there$"):
        run_ranks(program(body), TWO)


def test_a_process_that_says_nothing_is_quoted() -> None:
    with pytest.raises(TrainingError, match=r"rank 1 of 2 .* ended with exit code 1 \(ValueError: so it is\); all"):
        run_ranks(program("time.sleep(300) if rank == 0 else int.__call__\nraise ValueError('so it is')"), TWO)


def test_the_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    body = f"(pathlib.Path({str(tmp_path)!r}) / str(rank)).write_text(str(os.getpid())); time.sleep(300)"
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from edgemate.distributed.launching import run_ranks; "
            "from edgemate.distributed.world import World; run_ranks(sys.argv[1:], World(ranks=2, local_ranks=2))",
            *program(body),
        ]
    )
    children: list[int] = []
    try:
        until = time.monotonic() + 60
        while len(children) < 2 and time.monotonic() < until:
            time.sleep(0.05)
            children = [int(file.read_text()) for file in tmp_path.iterdir() if file.read_text()]
        assert len(children) == 2
        parent.kill()
        parent.wait()
        until = time.monotonic() + 30
        while any(map(_runs, children)) and time.monotonic() < until:
            time.sleep(0.05)
        assert not any(map(_runs, children))
    finally:
        parent.kill()
        parent.wait()
        for child in filter(_runs, children):
            os.kill(child, signal.SIGKILL)


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
