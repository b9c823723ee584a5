"""Requests that arrive together go through the network together."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from edgemate.runtime import Prediction
from edgemate.serving.refusal import RefusedError
from edgemate.serving.tensors import Array
from edgemate.wording import counted

Key = TypeVar("Key", bound=Hashable)
Run = Callable[[Array, Key, Sequence[float | None]], list[Prediction]]
Reach = Callable[[Key, float | None, int], int]


@dataclass(eq=False)
class _Item(Generic[Key]):
    images: Array
    key: Key
    due: float | None
    arrived: float
    answer: asyncio.Future[list[Prediction]]


class Batcher(Generic[Key]):
    """Gathers images of requests with the same key into batches and runs these in one thread, one after another.

    A batch waits until it is full or one of its requests has waited `max_wait_ms`, and no longer than until half the
    time is left that a request of any key has; while another one runs, it fills anyway. `close` it at the end.

    A batch is over when the first of its requests is due. So that one with little time left does not cut the answers of
    others short, only requests that reach equally far share one.

    Args:
        run: the predictions of images `(n, …)` of one key, with the time, as `time.perf_counter()` tells it, that
            each request is due at.
        reach: how many segments the network runs before a request of this key is due, in a batch of so many images.
        max_batch: images in a batch.
        max_wait_ms: milliseconds.
        max_queue: images that are accepted and not yet answered.
    """

    def __init__(self, run: Run[Key], reach: Reach[Key], *, max_batch: int, max_wait_ms: float, max_queue: int) -> None:
        self._run = run
        self._reach = reach
        self._max_batch = max_batch
        self._max_wait = max_wait_ms / 1000
        self._max_queue = max_queue
        self._waiting: deque[_Item[Key]] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "edgemate-network")
        self._images = 0
        self._seconds_per_image = 0.0
        self._task = asyncio.get_running_loop().create_task(self._loop())

    @property
    def images(self) -> int:
        """How many are accepted and not yet answered."""
        return self._images

    @contextmanager
    def place(self, images: int) -> Iterator[None]:
        """Keep place for so many images while they are prepared and answered.

        Raises:
            RefusedError: there is none; status 503, with the seconds after which there should be.
        """
        if self._images + images > self._max_queue:
            seconds = max(1, min(60, round(self._images * self._seconds_per_image)))
            raise RefusedError(
                503,
                f"{counted(self._images, 'image')} are waiting and the limit is {self._max_queue}; try again later",
                {"Retry-After": str(seconds)},
            )
        self._images += images
        try:
            yield
        finally:
            self._images -= images

    async def answer(self, images: Array, key: Key, due: float | None) -> list[Prediction]:
        """The predictions of the images of one request; whatever `run` raises."""
        item = _Item(images, key, due, time.perf_counter(), asyncio.get_running_loop().create_future())
        self._waiting.append(item)
        self._arrived.set()
        return await item.answer

    def hurry(self) -> None:
        """Wait no longer for batches to fill."""
        self._max_wait = 0.0
        self._arrived.set()

    async def close(self) -> None:
        """End the thread; what still waits is not answered."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for item in self._waiting:
            item.answer.cancel()
        # Off the event loop, which has signals to attend to.
        await asyncio.to_thread(self._thread.shutdown)

    async def _loop(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            batch = self._take(await self._filled())
            due = [item.due for item in batch]
            started = time.perf_counter()
            try:
                images = batch[0].images if len(batch) == 1 else np.concatenate([item.images for item in batch])
                found = await loop.run_in_executor(self._thread, self._run, images, batch[0].key, due)
            except Exception as error:  # whatever it is, the next batch is answered
                for item in batch:
                    if not item.answer.done():
                        item.answer.set_exception(error)
                continue
            self._seconds_per_image = (time.perf_counter() - started) / len(images)
            at = 0
            for item in batch:
                if not item.answer.done():  # the client may have gone
                    item.answer.set_result(found[at : at + len(item.images)])
                at += len(item.images)

    async def _filled(self) -> _Item[Key]:
        """Wait until a request has waited long enough, or those of a key fill a batch; the one that is to be in it."""
        while True:
            lead = min(self._waiting, key=self._begin)
            left = self._begin(lead) - time.perf_counter()
            if left <= 0:
                return lead
            images: Counter[Key] = Counter()
            for item in self._waiting:
                images[item.key] += len(item.images)
                if images[item.key] >= self._max_batch:
                    return next(first for first in self._waiting if first.key == item.key)
            self._arrived.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), left)

    def _begin(self, item: _Item[Key]) -> float:
        """When it has waited long enough. The network needs its part of the time until a request is due."""
        begin = item.arrived + self._max_wait
        return begin if item.due is None else min(begin, (item.arrived + item.due) / 2)

    def _take(self, lead: _Item[Key]) -> list[_Item[Key]]:
        """Take this request and those of its key that fit into a batch with it; the others keep their order."""
        batch = [lead]
        later: deque[_Item[Key]] = deque()
        images, full = len(lead.images), False
        for item in self._waiting:
            if item is lead:
                continue
            alike = item.key == lead.key and self._reach_equally(batch, item, images + len(item.images))
            # Once one does not fit, none like it overtakes it.
            full = full or (alike and images + len(item.images) > self._max_batch)
            if alike and not full:
                batch.append(item)
                images += len(item.images)
            else:
                later.append(item)
        self._waiting = later
        return batch

    def _reach_equally(self, batch: Sequence[_Item[Key]], item: _Item[Key], images: int) -> bool:
        """Whether all of them with one more reach equally far in a batch of so many images."""
        dues = [one.due for one in (*batch, item) if one.due is not None]
        if not dues:
            return True
        images = min(images, self._max_batch)
        latest = None if len(dues) <= len(batch) else max(dues)
        return self._reach(item.key, min(dues), images) == self._reach(item.key, latest, images)
