"""`edgemate run` as a process: its lines, its signals, its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from videos import jpeg, steps, write_video

from edgemate.bundle import Bundle

pytest.importorskip("onnxruntime")
COMMAND = [sys.executable, "-m", "edgemate", "run"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.mkdir()
    for number in range(3):
        Image.fromarray(np.full((8, 8, 3), 80 * number, np.uint8)).save(path / f"{number}.png")
    return path


def heed_interrupts() -> None:
    """In the child, also where these tests run in the background, which ignores Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def started(small_bundle: Bundle, folder: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, small_bundle.path, "--source", folder, "--watch", "--threads", "1", "--policy", "fast"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_lines(process: subprocess.Popen[str], count: int) -> list[dict[str, object]]:
    assert process.stdout is not None
    return [json.loads(process.stdout.readline()) for _ in range(count)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_good_end_with_the_counters(started: subprocess.Popen[str], number: int) -> None:
    answers = read_lines(started, 3)
    assert [answer["frame"] for answer in answers] == [0, 1, 2]
    assert all({"timestamp", "age_ms", "exit", "label", "probability", "milliseconds"} <= set(one) for one in answers)
    assert started.stderr is not None
    if hasattr(signal, "SIGUSR1"):
        started.send_signal(signal.SIGUSR1)
        assert started.stderr.readline().startswith("3 frames: 3 answered; an answer took ")
    started.send_signal(number)
    rest, said = started.communicate(timeout=30)
    assert started.returncode == 0, said
    assert rest == ""
    assert said.splitlines()[0].startswith("3 frames: 3 answered; an answer took ")


def test_images_come_by_a_pipe(small_bundle: Bundle) -> None:
    command = [*COMMAND, small_bundle.path, "--source", "-", "--threads", "1", "--exit", "1"]
    done = subprocess.run(command, input=jpeg(1) + jpeg(2) + jpeg(3)[:99], capture_output=True, timeout=60, check=False)
    assert done.returncode == 1, "an image was cut short"
    assert [json.loads(line).get("exit") for line in done.stdout.splitlines()] == [1, 1, None]
    assert b"2 answered; 1 could not be read" in done.stderr


def test_a_reader_that_goes_away_ends_it_quietly(small_bundle: Bundle, folder: Path) -> None:
    command = f"{' '.join(COMMAND)} {small_bundle.path} --source {folder} --watch --threads 1 | head -1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_what_is_wrong_is_one_line_with_the_flags(small_bundle: Bundle) -> None:
    command = [*COMMAND, small_bundle.path, "--source", "-", "--max-age-ms", "-1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: --max-age-ms: must be above 0, not -1.0\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_stop_before_the_source_opens_is_a_good_end(small_bundle: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("av")
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [*COMMAND, small_bundle.path, "--source", source, "--threads", "1"], stderr=subprocess.PIPE, text=True
        )
        for source in (str(pipe), f"udp://127.0.0.1:{port}")
    ]
    try:
        assert processes[0].stderr is not None
        assert "is a pipe, which is read once a program writes to it" in processes[0].stderr.readline()
        time.sleep(2)
        for process in processes:
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=8)
            assert process.returncode == 0, said
            assert said.startswith("0 frames: 0 answered")
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_a_pipe_without_images_and_an_infinite_threshold_are_errors(small_bundle: Bundle) -> None:
    command = [*COMMAND, small_bundle.path, "--source", "-", "--threads", "1"]
    done = subprocess.run(command, input=b"garbage" * 99, capture_output=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: standard input: no image was found in 693 bytes")
    done = subprocess.run([*command, "--still", "inf"], capture_output=True, timeout=60, check=False, input=b"")
    assert done.returncode == 2
    assert done.stderr == b"error: --still: must be 0 or more, such as 0.05, not inf\n"


@pytest.mark.slow
def test_a_thousand_frames_with_a_deadline_and_after_a_kill_again(small_bundle: Bundle, tmp_path: Path) -> None:
    """No frame older than one period is answered, none is lost but those skipped and counted, and memory is flat."""
    path = write_video(tmp_path / "long.mp4", steps(1000, (48, 64)), rate=30)
    output = tmp_path / "answers.jsonl"
    command = [*COMMAND, small_bundle.path, "--source", path, "--deadline-ms", "5", "--threads", "1"]

    def begin() -> subprocess.Popen[str]:
        with output.open("a") as target:
            return subprocess.Popen(command, stdout=target, stderr=subprocess.PIPE, text=True)

    process = begin()
    time.sleep(5)
    process.kill()
    process.communicate()
    before = [json.loads(line) for line in output.read_text().splitlines() if line.endswith("}")]
    assert len(before) > 30

    output.unlink()
    process = begin()
    memory = []
    try:
        while process.poll() is None:
            memory.append(resident(process.pid))
            time.sleep(0.5)
        said = process.stderr.read() if process.stderr else ""
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, said
    answers = [json.loads(line) for line in output.read_text().splitlines()]
    assert max(answer["age_ms"] for answer in answers) <= 1000 / 30
    assert said.startswith("1,000 frames: ")
    skipped = 1000 - len(answers)
    assert (f"{skipped:,} skipped" in said) == (skipped > 0), said
    assert [answer["frame"] for answer in answers] == sorted({answer["frame"] for answer in answers})
    settled = [size for size in memory[len(memory) // 4 :] if size]
    assert max(settled) - settled[0] < 3 << 20, memory


def resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0
