"""Requests that arrive together go through the network together."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from edgemate.runtime import Prediction
from edgemate.serving.refusal import RefusedError
from edgemate.serving.tensors import Array
from edgemate.wording import counted

Key = TypeVar("Key", bound=Hashable)
Run = Callable[[Array, Key, Sequence[float | None]], list[Prediction]]


@dataclass(eq=False)
class _Item(Generic[Key]):
    images: Array
    key: Key
    due: float | None
    arrived: float
    answer: asyncio.Future[list[Prediction]]


class Batcher(Generic[Key]):
    """Gathers images of requests with the same key into batches and runs these in one thread, one after another.

    A batch waits until it is full or its first image has waited `max_wait_ms`, and no longer than until half the time
    is left that a request in it has; while another one runs, it fills anyway. `close` it at the end.

    Args:
        run: the predictions of images `(n, …)` of one key, with the time, as `time.perf_counter()` tells it, that
            each request is due at.
        max_batch: images in a batch.
        max_wait_ms: milliseconds.
        max_queue: images that are accepted and not yet answered.
    """

    def __init__(self, run: Run[Key], *, max_batch: int, max_wait_ms: float, max_queue: int) -> None:
        self._run = run
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
        self._thread.shutdown()

    async def _loop(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            await self._fill()
            batch = self._take()
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

    async def _fill(self) -> None:
        """Wait for images of the first one's key, until they fill a batch or one of them has waited long enough."""
        first = self._waiting[0]
        while True:
            mine = [item for item in self._waiting if item.key == first.key]
            if sum(len(item.images) for item in mine) >= self._max_batch:
                return
            begin = first.arrived + self._max_wait
            # The network needs its part of the time until a request is due.
            begin = min([begin, *((item.arrived + item.due) / 2 for item in mine if item.due is not None)])
            left = begin - time.perf_counter()
            if left <= 0:
                return
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), left)
            except asyncio.TimeoutError:
                return

    def _take(self) -> list[_Item[Key]]:
        """Take the requests of the first one's key that fit into a batch; the others keep their order."""
        key = self._waiting[0].key
        batch: list[_Item[Key]] = []
        later: deque[_Item[Key]] = deque()
        images, full = 0, False
        for item in self._waiting:
            # Once one does not fit, none of its key overtakes it.
            full = full or (item.key == key and images + len(item.images) > self._max_batch)
            if item.key == key and not full:
                batch.append(item)
                images += len(item.images)
            else:
                later.append(item)
        self._waiting = later
        return batch
