"""How processes come together; here they are threads of one."""

from __future__ import annotations

import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import FrameType
from typing import Any

import pytest
import torch.distributed as dist

from edgemate.distributed import meeting
from edgemate.distributed.meeting import meet
from edgemate.distributed.world import World
from edgemate.errors import TrainingError


def rank(number: int, of: int = 2) -> World:
    return World(rank=number, ranks=of, local_rank=number, local_ranks=of, starter="edgemate")


def nothing(line: str) -> None:
    """Print nothing."""


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free: int = probe.getsockname()[1]
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free))
    return free


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "PATIENCE", timedelta(seconds=0.3))
    monkeypatch.setattr(meeting, "_SILENT_SECONDS", 0.1)


@pytest.fixture
def beside() -> Iterator[Callable[..., None]]:
    """Calls a function in a thread, which is waited for at the end."""
    threads = []

    def start(function: Callable[..., Any], *given: Any) -> None:
        threads.append(threading.Thread(target=function, args=given, daemon=True))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.usefixtures("port")
def test_all_come_to_one_store_without_a_word(beside: Callable[..., None]) -> None:
    lines: list[str] = []
    beside(lambda: meet(rank(1), lines.append).set("from", "rank 1"))
    store = meet(rank(0), lines.append)
    assert store.get("from") == b"rank 1"
    assert lines == []


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("here", "missing"), [(rank(0), "rank 1 of 2"), (rank(1), "rank 0"), (rank(0, 4), "ranks 1, 2, 3 of 4")]
)
def test_who_does_not_come_is_named(port: int, here: World, missing: str) -> None:
    lines: list[str] = []
    with pytest.raises(TrainingError, match=rf"^{missing} did not come to 127.0.0.1:{port} within"):
        meet(here, lines.append)
    assert lines == [f"waiting at 127.0.0.1:{port} for {missing}"]


@pytest.mark.usefixtures("port")
@pytest.mark.parametrize("number", [0, 1])
def test_a_signal_ends_the_waiting(number: int) -> None:
    class HeededError(Exception):
        """The signal has come."""

    def heed(signal_number: int, frame: FrameType | None) -> None:
        raise HeededError

    before = signal.signal(signal.SIGALRM, heed)
    started = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(HeededError):
            meet(rank(number), nothing)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - started < 5


def test_a_port_that_another_program_has_is_named(port: int) -> None:
    with socket.socket() as other:
        other.bind(("", port))
        other.listen()
        with pytest.raises(TrainingError, match=rf"rank 0 of 2 cannot use 127.0.0.1:{port}, .*MASTER_PORT$"):
            meet(rank(0), nothing)


def refusal_of_rank_1() -> str:
    """What a second of three processes is told, which does not meet the others."""
    with pytest.raises(TrainingError) as error:
        meet(rank(1, 3), nothing)
    return str(error.value)


@pytest.mark.usefixtures("impatient")
def test_two_of_one_rank_are_refused(port: int, beside: Callable[..., None]) -> None:
    def rank_0() -> None:
        with pytest.raises(TrainingError, match="rank 2 of 3 did not come"):
            meet(rank(0, 3), nothing)

    beside(rank_0)
    refused = rf"^rank 1 of 3 has come to 127.0.0.1:{port} twice; give every machine a NODE_RANK"
    came: list[str] = []
    for _ in range(2):
        beside(lambda: came.append(refusal_of_rank_1()))
    until = time.monotonic() + 10
    while len(came) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    assert sum(bool(re.match(refused, message)) for message in came) == 1


def test_a_first_process_that_ends_meanwhile_is_named(port: int, beside: Callable[..., None]) -> None:
    store: Any = dist.TCPStore("127.0.0.1", port, 3, True, wait_for_workers=False)  # type: ignore[attr-defined]
    said: list[str] = []
    beside(lambda: said.append(refusal_of_rank_1()))
    until = time.monotonic() + 20
    while not store.check(["edgemate/rank1"]) and time.monotonic() < until:
        time.sleep(0.02)
    del store
    while not said and time.monotonic() < until:
        time.sleep(0.02)
    assert said == [f"rank 1 of 3: rank 0 has ended at 127.0.0.1:{port} before all had come; its output says why"]


@pytest.mark.usefixtures("port")
def test_an_address_that_nobody_knows_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "nowhere.invalid")
    monkeypatch.setattr(meeting, "_NAME_SECONDS", 0.0)
    with pytest.raises(
        TrainingError, match=r"^MASTER_ADDR: nowhere.invalid is not known here \(.+\); name the machine"
    ):
        meet(rank(1), nothing)
