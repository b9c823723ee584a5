"""Images of requests that wait together are computed together; each gets its own answer, and none is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemate.errors import BackendError
from edgemate.serving.batching import Batcher
from edgemate.serving.refusal import RefusedError


class Network:
    """Answers each image with its number; `batches` are the keys and sizes that it was given."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, int]] = []

    def __call__(self, images: np.ndarray, key: str, due: Sequence[float | None]) -> list[Any]:
        self.batches.append((key, len(images)))
        if key == "broken":
            raise BackendError("the segment fails")
        return [(key, number) for number in images.tolist()]


def alike(key: str, due: float | None, images: int) -> int:
    """Every request reaches equally far."""
    return 1


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["a", "b"])), min_size=1, max_size=20))
def test_every_request_gets_its_own_answers(requests: list[tuple[int, str]]) -> None:
    network = Network()

    async def run() -> list[list[Any]]:
        batcher: Batcher[str] = Batcher(network, alike, max_batch=4, max_wait_ms=1, max_queue=100)
        at = np.cumsum([0, *(size for size, _ in requests)])
        asked = [batcher.answer(np.arange(at[i], at[i + 1]), key, None) for i, (_, key) in enumerate(requests)]
        try:
            return await asyncio.gather(*asked)
        finally:
            await batcher.close()

    answers = asyncio.run(run())
    numbers = iter(range(100))
    for (size, key), answer in zip(requests, answers, strict=True):
        assert answer == [(key, next(numbers)) for _ in range(size)]
    assert all(size <= 4 for _, size in network.batches)
    assert sum(size for _, size in network.batches) == sum(size for size, _ in requests)


def test_single_images_that_wait_together_share_a_batch() -> None:
    network = Network()

    async def run() -> None:
        batcher: Batcher[str] = Batcher(network, alike, max_batch=4, max_wait_ms=1000, max_queue=100)
        await asyncio.gather(*(batcher.answer(np.array([i]), "a", None) for i in range(8)))
        await batcher.close()

    asyncio.run(run())
    assert network.batches == [("a", 4), ("a", 4)]


def test_a_batch_leaves_the_network_time_before_a_request_is_due() -> None:
    async def run() -> float:
        batcher: Batcher[str] = Batcher(Network(), alike, max_batch=4, max_wait_ms=60_000, max_queue=100)
        started = time.perf_counter()
        first = asyncio.ensure_future(batcher.answer(np.array([1]), "a", None))
        await asyncio.sleep(0)
        assert await batcher.answer(np.array([2]), "a", started + 4.0) == [("a", 2)]
        seconds = time.perf_counter() - started
        assert await first == [("a", 1)]
        await batcher.close()
        return seconds

    assert 1.6 < asyncio.run(run()) < 4.0


def test_a_request_with_little_time_cuts_no_other_short() -> None:
    network = Network()

    def reach(key: str, due: float | None, images: int) -> int:
        return 3 if due is None or due - time.perf_counter() > 60 else 1

    async def run() -> list[list[Any]]:
        batcher: Batcher[str] = Batcher(network, reach, max_batch=8, max_wait_ms=50, max_queue=100)
        now = time.perf_counter()
        dues = [None, now + 1000, now + 1e-6, now + 2000, now + 2e-6]
        found = await asyncio.gather(*(batcher.answer(np.array([i]), "a", due) for i, due in enumerate(dues)))
        await batcher.close()
        return found

    assert asyncio.run(run()) == [[("a", number)] for number in range(5)]
    assert network.batches == [("a", 2), ("a", 3)]  # those in a hurry first


def test_a_request_does_not_wait_for_the_batch_of_another_key() -> None:
    async def run() -> tuple[float, list[bool]]:
        network = Network()
        batcher: Batcher[str] = Batcher(network, alike, max_batch=4, max_wait_ms=60_000, max_queue=100)
        started = time.perf_counter()
        first = asyncio.ensure_future(batcher.answer(np.array([1]), "a", None))
        await asyncio.sleep(0)
        assert await batcher.answer(np.array([2]), "b", started + 4.0) == [("b", 2)]
        seconds = time.perf_counter() - started
        full = await asyncio.gather(*(batcher.answer(np.array([i]), "c", None) for i in range(4)))
        assert full == [[("c", i)] for i in range(4)]
        waits = [first.done()]
        batcher.hurry()
        assert await first == [("a", 1)]
        await batcher.close()
        assert network.batches == [("b", 1), ("c", 4), ("a", 1)]
        return seconds, waits

    seconds, waits = asyncio.run(run())
    assert 1.6 < seconds < 4.0
    assert waits == [False]


def test_what_waits_is_computed_at_once_in_a_hurry() -> None:
    network = Network()

    async def run() -> None:
        batcher: Batcher[str] = Batcher(network, alike, max_batch=4, max_wait_ms=60_000, max_queue=100)
        batcher.hurry()  # with nothing there, it changes nothing
        await asyncio.sleep(0)
        assert await batcher.answer(np.array([3]), "a", None) == [("a", 3)]
        await batcher.close()
        batcher = Batcher(network, alike, max_batch=4, max_wait_ms=60_000, max_queue=100)
        waiting = asyncio.ensure_future(batcher.answer(np.array([4]), "b", None))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        batcher.hurry()
        assert await waiting == [("b", 4)]
        await batcher.close()

    asyncio.run(run())
    assert network.batches == [("a", 1), ("b", 1)]


def test_a_batch_that_fails_fails_alone() -> None:
    async def run() -> tuple[Any, Any]:
        batcher: Batcher[str] = Batcher(Network(), alike, max_batch=4, max_wait_ms=0, max_queue=100)
        found = await asyncio.gather(
            batcher.answer(np.array([0]), "broken", None),
            batcher.answer(np.array([1]), "a", None),
            return_exceptions=True,
        )
        await batcher.close()
        return tuple(found)

    broken, answered = asyncio.run(run())
    assert isinstance(broken, BackendError)
    assert answered == [("a", 1)]


def test_a_batch_that_cannot_be_put_together_fails_alone() -> None:
    async def run() -> tuple[Any, ...]:
        batcher: Batcher[str] = Batcher(Network(), alike, max_batch=4, max_wait_ms=50, max_queue=100)
        shapes = [batcher.answer(np.zeros((1, size)), "a", None) for size in (2, 3)]
        found = await asyncio.wait_for(asyncio.gather(*shapes, return_exceptions=True), 10)
        after = await asyncio.wait_for(batcher.answer(np.array([7]), "a", None), 10)
        await batcher.close()
        return (*found, after)

    *failed, answered = asyncio.run(run())
    assert [type(error) for error in failed] == [ValueError, ValueError]
    assert answered == [("a", 7)]


def test_a_full_queue_refuses_until_there_is_place() -> None:
    async def run() -> None:
        batcher: Batcher[str] = Batcher(Network(), alike, max_batch=4, max_wait_ms=0, max_queue=5)
        with batcher.place(4):
            assert batcher.images == 4
            with pytest.raises(RefusedError, match="4 images are waiting") as refused, batcher.place(2):
                pass
            assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
            with batcher.place(1):
                assert batcher.images == 5
        with batcher.place(5):
            pass
        assert batcher.images == 0
        await batcher.close()

    asyncio.run(run())
