"""Passes over the engines of a lane: of a batch, whose images may leave it, and of one image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgemate.errors import BackendError
from edgemate.runtime.backends.base import Array, ForwardPass, SinglePass
from edgemate.runtime.backends.tensorrt.runner import Lane
from edgemate.runtime.backends.wiring import Step


class TensorRTPass(ForwardPass):
    """A batch of `rows` images in a lane of its own.

    Args:
        lane: filled with the images.
        steps: of its engines.
        least: the least batch that the engines take.
        speculate: enqueue the next segment before the last is waited for.
        rows: images.

    Attributes:
        backend: held while the pass is under way, since a backend that nobody holds is closed by itself.
    """

    backend: object = None

    def __init__(self, lane: Lane, steps: Sequence[Step], least: int, speculate: bool, rows: int) -> None:
        self._lane = lane
        self._steps = steps
        self._least = least
        self._speculate = speculate
        self._rows = rows
        self._live = {"image"}  # tensors on the device that a segment not yet enqueued takes
        self._enqueued: list[int] = []  # images in each segment's batch when it was enqueued
        self._answered = 0
        self._late: npt.NDArray[np.intp] | None = None  # rows kept since the segment to answer next was enqueued

    def advance(self) -> Array:
        """Wait for the next segment's logits."""
        logits: Array = self.fetch()[0]
        return logits

    def fetch(self) -> list[Array]:
        """Wait for all that the next engine fetches."""
        index = self._answered
        if index == len(self._steps):
            raise BackendError("no segment is left to run in this pass")
        late, self._late = self._late, None
        if index == len(self._enqueued):
            self._enqueue()
        if self._speculate and len(self._enqueued) < len(self._steps):
            self._enqueue()
        arrays = self._lane.answer(index, self._enqueued[index])
        self._answered += 1
        return arrays if late is None else [array[late] for array in arrays]

    def keep(self, kept: npt.NDArray[np.intp]) -> None:
        """Move the images kept to the front, on the device."""
        if self._answered < len(self._enqueued):  # its answer is on the way, with the rows of images that have left
            self._late = kept if self._late is None else self._late[kept]
        self._lane.keep(sorted(self._live), kept)
        self._rows = len(kept)

    def features(self) -> dict[str, Array]:
        """Copies of what the last segment handed on; it waits for the device.

        Raises:
            BackendError: the pass speculates, so the next segment may have taken them.
        """
        if self._speculate:
            raise BackendError(
                "speculate: the next segment is under way, so the features between the two are not there"
            )
        return self._lane.copies(sorted(self._live), self._rows)

    def _enqueue(self) -> None:
        step = self._steps[len(self._enqueued)]
        # Below the least batch that the engines take, rows of earlier images are computed along and not looked at.
        self._lane.enqueue(len(self._enqueued), max(self._rows, self._least))
        self._enqueued.append(self._rows)
        self._live = (self._live | set(step.gives)) - set(step.done)


class TensorRTSinglePass(SinglePass):
    """One image after another in a lane of its own: made once, and started for each image.

    The logits are read where the device put them, in pinned memory.
    """

    __slots__ = ("_answered", "_engines", "_enqueued", "_image", "_lane", "_rows", "_size", "_speculate")

    def __init__(self, lane: Lane, least: int, speculate: bool) -> None:
        self._lane = lane
        self._engines = len(lane.runners)
        self._size = max(1, least)  # below the least batch, rows of earlier images are computed along
        self._speculate = speculate
        self._image = lane.given["image"][:1]
        self._rows: list[Array] = [lane.fetched(index)[0][0] for index in range(self._engines)]
        self._enqueued = self._answered = 0

    def start(self, image: Array) -> None:
        """Take another image, float32 `(1, channels, height, width)`; the lane must be free."""
        self._image[:] = image
        self._enqueued = self._answered = 0

    def advance(self) -> Array:
        """Wait for the next segment's logits."""
        index, lane = self._answered, self._lane
        if index == self._engines:
            raise BackendError("no segment is left to run in this pass")
        if self._speculate:
            for ahead in range(self._enqueued, min(index + 2, self._engines)):
                lane.enqueue(ahead, self._size)
                self._enqueued = ahead + 1
            lane.wait(index)
        else:
            lane.run(index, self._size)
        self._answered = index + 1
        row = self._rows[index]
        return row if row.dtype == np.float32 else row.astype(np.float32)  # a DLA gives float16

    def end(self) -> None:
        """Give the lane back."""
        self._lane.holder = None
