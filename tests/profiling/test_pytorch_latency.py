from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch

from edgemate.evaluation import trained_model
from edgemate.models import MultiExitModel
from edgemate.profiling import pytorch_latency
from edgemate.profiling.pytorch_latency import CudaTimed, HostTimed, inference, pytorch_calls
from edgemate.profiling.timings import Case
from edgemate.runs import Run

IMAGES = np.random.default_rng(0).normal(size=(3, 1, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def model(finished_run: Run) -> MultiExitModel:
    return trained_model(finished_run)


def test_every_prefix_and_segment_is_timed_at_every_batch_size(model: MultiExitModel) -> None:
    calls, loading = pytorch_calls(model, IMAGES, (1, 4))
    cpu = {case for case in calls if case.library == "pytorch-cpu"}
    assert cpu == {
        Case("pytorch-cpu", graphs, exit, batch)
        for graphs in ("prefix", "segment")
        for exit in (1, 2, 3)
        for batch in (1, 4)
    }
    assert loading[0].library == "pytorch-cpu"
    assert loading[0].first_call_ms > 0
    seen: list[int] = []
    handle = model.heads[1].register_forward_hook(
        lambda _module, given, _output: seen.append(len(given[0]["features"]))
    )
    with inference(1):
        milliseconds = calls[Case("pytorch-cpu", "prefix", 2, 4)]()
    handle.remove()
    assert seen == [4]
    assert isinstance(milliseconds, float)


def test_threads_are_those_given_and_then_given_back(model: MultiExitModel) -> None:
    threads: list[int] = []
    handle = model.heads[0].register_forward_hook(lambda *_: threads.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    calls, _ = pytorch_calls(model, IMAGES, (1,))
    threads.clear()
    with inference(1):
        for call in calls.values():
            call()
    handle.remove()
    assert set(threads) == {1}
    assert torch.get_num_threads() == before


def test_preparing_the_input_is_not_timed() -> None:
    def prepare() -> int:
        time.sleep(0.05)
        return 7

    given: list[int] = []
    assert HostTimed(given.append, prepare)() < 25
    assert given == [7]


def test_cuda_calls_are_timed_between_two_events(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []

    class Event:
        made = 0

        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing
            Event.made += 1
            self.name = f"event {Event.made}"

        def record(self) -> None:
            log.append(f"record {self.name}")

        def synchronize(self) -> None:
            log.append(f"wait for {self.name}")

        def elapsed_time(self, end: Any) -> float:
            return 2.5 if (self.name, end.name) == ("event 1", "event 2") else -1.0

    monkeypatch.setattr(pytorch_latency.torch.cuda, "Event", Event)
    monkeypatch.setattr(pytorch_latency.torch.cuda, "synchronize", lambda: log.append("wait"))
    timed = CudaTimed(lambda given: log.append(f"call {given}"), lambda: "features")
    assert timed() == 2.5
    assert log == ["wait", "record event 1", "call features", "record event 2", "wait for event 2"]
