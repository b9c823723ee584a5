"""The one loop that times calls.

Calls that are compared take turns, so that whatever else the machine does falls on all of them alike.
"""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from edgemate.latency import Latency as Latency
from edgemate.progress import SILENT, Heartbeat, Progress

Key = TypeVar("Key")
Result = TypeVar("Result")

Call = Callable[[], Result]
BeforeCall = Callable[[Callable[[], object]], None]
"""Called before each timed call, with that call; what it does is not timed."""

REPORT_SECONDS = 1.0

STABLE_WINDOW, STABLE_WITHIN = 6, 0.03
"""Warm-up ends when the median of so many rounds is within this fraction of the median of as many rounds before."""

MAX_WARMUP_ROUNDS, MAX_WARMUP_SECONDS = 200, 30.0
"""Warm-up also ends after so many rounds, or after the first round that ends later than this."""

BLOCKS = 10
BLOCK_WARMUP = 2
"""Calls that are not timed at the start of a turn: what ran before has filled the caches with its own data."""


class SelfTimed(ABC):
    """A call that measures its own time, such as with the events of a GPU, or of a part of what it does."""

    @abstractmethod
    def __call__(self) -> float:
        """Make the call; the milliseconds it took."""


@dataclass(frozen=True)
class WarmUp:
    """How a warm-up went.

    Attributes:
        rounds: calls of each key that were made.
        stable: whether the times of every key had settled; None if the time was too short to tell.
        medians: key → median of its last calls, in milliseconds.
    """

    rounds: int
    stable: bool | None
    medians: Mapping[Any, float]


@dataclass(frozen=True)
class TimedCall(Generic[Key, Result]):
    """One timed call.

    Attributes:
        key: whose turn it was.
        index: which of that key's calls, from 0.
        result: what the call returned.
        milliseconds: how long it took; of a `SelfTimed` call, as long as it says.
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
            if isinstance(call, SelfTimed) and isinstance(result, float):
                milliseconds = result
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


def warm_up(
    calls: Mapping[Key, Call[object]],
    *,
    window: int = STABLE_WINDOW,
    within: float = STABLE_WITHIN,
    rounds: int = MAX_WARMUP_ROUNDS,
    seconds: float | None = None,
    progress: Progress = SILENT,
) -> WarmUp:
    """Make all calls in turn until their times are stable.

    A key is stable once the median of its last `window` calls is within the fraction `within` of the median of the
    `window` calls before. Clocks that rise, memory that is first allocated and kernels that are chosen on the first
    calls all show as medians that still move. On a busy machine noise moves them too, hence the limits.

    Args:
        calls: what to call.
        window: rounds of each of the two medians, 1 or more.
        within: see above.
        rounds: the most rounds to make.
        seconds: no round begins after so many; `MAX_WARMUP_SECONDS` if None.
        progress: advanced at most once a second.
    """
    heartbeat = Heartbeat(REPORT_SECONDS)
    seconds = MAX_WARMUP_SECONDS if seconds is None else seconds
    started = time.monotonic()
    samples: dict[Key, list[float]] = {key: [] for key in calls}
    settled: set[Key] = set()
    done = 0
    while len(settled) < len(samples) and done < rounds and (done == 0 or time.monotonic() - started < seconds):
        if heartbeat.due():
            progress.advance(done, rounds)
        for timed in time_in_turns({key: (call,) for key, call in calls.items()}):
            samples[timed.key].append(timed.milliseconds)
        done += 1
        settled |= {key for key, times in samples.items() if _is_stable(times, window, within)}
    stable = None if done < 2 * window else len(settled) == len(samples)
    return WarmUp(done, stable, {key: float(np.median(times[-window:])) for key, times in samples.items()})


def time_blocks(
    calls: Mapping[Key, Call[object]],
    *,
    repeats: int | Mapping[Key, int],
    blocks: int = BLOCKS,
    random: np.random.Generator | None = None,
    progress: Progress = SILENT,
) -> dict[Key, list[list[float]]]:
    """Time calls in blocks: each key's calls are split over `blocks` turns, between which all other keys have theirs.

    A slow drift of the machine thus falls on all keys alike. Single calls in turn would be fairer still, but each would
    find the caches and the threads of another session as it left them. Calls in one block follow each other, so their
    times correlate; the blocks of one key are far apart, so the means of blocks hardly do, and their spread gives a
    confidence interval that is not too narrow.

    Args:
        calls: what to time.
        repeats: timed calls per key, 1 or more; of each key if a mapping.
        blocks: turns of each key; fewer for a key with fewer repeats.
        random: draws the order of the keys anew for each block; the mapping's order if None.
        progress: advanced before each block and once a second.

    Returns:
        Key → blocks of milliseconds, in order; as many in all as its repeats.
    """
    counts = dict.fromkeys(calls, repeats) if isinstance(repeats, int) else dict(repeats)
    blocks = min(blocks, max(counts.values()))
    samples: dict[Key, list[list[float]]] = {key: [] for key in calls}
    block = 0
    before = report_between_calls(lambda: progress.advance(block, blocks))
    for block in range(blocks):
        sizes = {key: count // blocks + (block < count % blocks) for key, count in counts.items()}
        turns = {key: (call,) * sizes[key] for key, call in calls.items() if sizes[key]}
        for key in turns:
            samples[key].append([])
        for timed in time_in_turns(turns, warmup=BLOCK_WARMUP, random=random, before=before):
            samples[timed.key][-1].append(timed.milliseconds)
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


def _is_stable(times: Sequence[float], window: int, within: float) -> bool:
    if len(times) < 2 * window:
        return False
    before, last = (float(np.median(part)) for part in (times[-2 * window : -window], times[-window:]))
    return abs(last - before) <= within * before
