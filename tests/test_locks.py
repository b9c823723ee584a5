from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgemate.locks import HeldError, check_lock_file, lock_file, lock_folder

pytest.importorskip("fcntl")

HOLD = """
import sys, time
from pathlib import Path
from edgemate import locks
with getattr(locks, sys.argv[1])(Path(sys.argv[2])):
    print("held", flush=True)
    time.sleep(60)
"""

# Of Python 3.12 and later; the forks do nothing but the call, and end.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@contextmanager
def another_process(lock: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """One that holds the lock."""
    with subprocess.Popen([sys.executable, "-c", HOLD, lock, str(folder)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(("name", "lock"), [("lock_file", lock_file), ("lock_folder", lock_folder)])
def test_another_process_is_named_and_its_death_releases_the_lock(name: str, lock, tmp_path: Path) -> None:
    with another_process(name, tmp_path) as process:
        with pytest.raises(HeldError, match=f"^process {process.pid}( |$)"), lock(tmp_path):
            pass
        process.kill()
        process.wait()
        with lock(tmp_path):
            pass


def test_a_worker_that_outlives_its_training_does_not_keep_the_run(tmp_path: Path) -> None:
    read, write = os.pipe()
    trainer = os.fork()
    if not trainer:
        with lock_file(tmp_path):
            worker = os.fork()  # as a loader's, with everything that is open
            if not worker:
                os.close(write)
                os.read(read, 1)
                os._exit(0)
            os._exit(0)
    os.waitpid(trainer, 0)
    with lock_file(tmp_path):
        pass
    os.write(write, b"x")
    os.close(read)
    os.close(write)


def test_two_threads_of_one_process_do_not_hold_it_both(tmp_path: Path) -> None:
    with lock_file(tmp_path):
        with pytest.raises(HeldError, match="this one"), lock_file(tmp_path):
            pass
        check = subprocess.run(
            [
                sys.executable,
                "-c",
                f"from edgemate.locks import *; check_lock_file(__import__('pathlib').Path({str(tmp_path)!r}))",
            ],
            capture_output=True,
            text=True,
        )
        assert f"process {os.getpid()}" in check.stderr, "the second try has not released it"
    with lock_file(tmp_path):
        pass


def test_looking_leaves_nothing(tmp_path: Path) -> None:
    check_lock_file(tmp_path)
    check_lock_file(tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_replaced_meanwhile_is_locked_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    folder, real, calls = tmp_path / "a", fcntl.flock, []
    folder.mkdir()

    def flock(handle: int, operation: int) -> None:
        calls.append(handle)
        if len(calls) == 1:
            folder.rename(tmp_path / "old")
            folder.mkdir()
        real(handle, operation)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", flock)
        with lock_folder(folder):
            handle = os.open(folder, os.O_RDONLY)
            with pytest.raises(BlockingIOError):
                real(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(handle)
    assert len(calls) == 2
