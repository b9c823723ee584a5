"""The one loop that times calls, and the summary of their times.

Calls that are compared take turns, so that whatever else the machine does falls on all of them alike.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from edgemate.progress import SILENT, Heartbeat, Progress

Key = TypeVar("Key")
Result = TypeVar("Result")

Call = Callable[[], Result]
BeforeCall = Callable[[Callable[[], object]], None]
"""Called before each timed call, with that call; what it does is not timed."""

REPORT_SECONDS = 1.0


@dataclass(frozen=True)
class Latency:
    """Median, 90th and 99th percentile and mean of `repeats` calls, in milliseconds."""

    p50: float
    p90: float
    p99: float
    mean: float
    repeats: int

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> Latency:
        """The summary of single calls' milliseconds, (repeats,)."""
        p50, p90, p99 = np.percentile(milliseconds, (50, 90, 99)).tolist()
        return cls(p50, p90, p99, float(np.mean(milliseconds)), len(milliseconds))


@dataclass(frozen=True)
class TimedCall(Generic[Key, Result]):
    """One timed call.

    Attributes:
        key: whose turn it was.
        index: which of that key's calls, from 0.
        result: what the call returned.
        milliseconds: how long it took.
    """

    key: Key
    index: int
    result: Result
    milliseconds: float


def time_in_turns(
    calls: Mapping[Key, Sequence[Call[Result]]],
    *,
    warmup: int = 0,
    random: np.random.Generator | None = None,
    before: BeforeCall | None = None,
) -> Iterator[TimedCall[Key, Result]]:
    """Time every call once, key by key.

    Args:
        calls: key → its calls, which run one after another in that key's turn.
        warmup: calls that are not timed at the start of each turn: the key's own, from the first one on, over again
            where it has fewer.
        random: draws the order of the keys; the mapping's order if None.
        before: see `BeforeCall`; for reporting progress, or waiting for a GPU.

    Yields:
        Each timed call right after it returned.
    """
    keys = list(calls)
    order = range(len(keys)) if random is None else random.permutation(len(keys)).tolist()
    for key in (keys[i] for i in order):
        for call in itertools.islice(itertools.cycle(calls[key]), warmup):
            call()
        for index, call in enumerate(calls[key]):
            if before is not None:
                before(call)
            started = time.perf_counter_ns()
            result = call()
            milliseconds = (time.perf_counter_ns() - started) * 1e-6
            yield TimedCall(key, index, result, milliseconds)


def time_rounds(
    calls_of: Callable[[int], Mapping[Key, Call[object]]],
    *,
    warmup: int,
    repeats: int,
    random: np.random.Generator | None = None,
    progress: Progress = SILENT,
) -> dict[Key, list[float]]:
    """Time calls in rounds, in each of which every call has one turn.

    Args:
        calls_of: round → the calls of that round, in order; rounds that are not timed have negative numbers.
        warmup: rounds that are not timed.
        repeats: rounds that are.
        random: draws the order anew for each round; the mapping's order if None.
        progress: advanced at most once a second. A round that is not timed follows, as reporting disturbs the caches.

    Returns:
        Key → milliseconds, (repeats,), in the order of the rounds.
    """
    heartbeat = Heartbeat(REPORT_SECONDS)
    samples: dict[Key, list[float]] = {}
    for number in range(-warmup, repeats):
        calls = calls_of(number)
        if heartbeat.due():
            progress.advance(max(number, 0), repeats)
            for call in calls.values():
                call()
        for timed in time_in_turns({key: (call,) for key, call in calls.items()}, random=random):
            if number >= 0:
                samples.setdefault(timed.key, []).append(timed.milliseconds)
    return samples


def measure_alternately(
    calls: Mapping[Key, Call[object]], *, warmup: int = 20, repeats: int = 200, progress: Progress = SILENT
) -> dict[Key, Latency]:
    """Time several calls in turn.

    Args:
        calls: what to time.
        warmup: rounds that are not timed.
        repeats: rounds that are, 1 or more.
        progress: see `time_rounds`.
    """
    samples = time_rounds(lambda _: calls, warmup=warmup, repeats=repeats, progress=progress)
    return {key: Latency.of(samples[key]) for key in calls}


def measure(call: Call[object], *, warmup: int = 20, repeats: int = 200) -> Latency:
    """Time `call` alone, after `warmup` calls that are not timed."""
    return measure_alternately({"call": call}, warmup=warmup, repeats=repeats)["call"]


def report_between_calls(report: Callable[[], None]) -> BeforeCall:
    """A `before` that calls `report` at most once a second, and then makes the call once without timing it."""
    heartbeat = Heartbeat(REPORT_SECONDS)

    def before(call: Callable[[], object]) -> None:
        if heartbeat.due():
            report()
            call()

    return before
