"""Really answering a split with a policy, and timing it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.errors import DataError
from edgemate.monitoring import Statistics
from edgemate.policies import Policy
from edgemate.progress import SILENT, Heartbeat, Progress
from edgemate.runtime.classifier import AnytimeClassifier
from edgemate.runtime.counting import Counts
from edgemate.runtime.latency import TELL_SECONDS, Latency
from edgemate.runtime.prediction import Prediction
from edgemate.runtime.preprocessing import ImageInput, Preprocessor

BLOCK = 256
WARMUP = 20


@dataclass(frozen=True)
class Measured:
    """What a policy did, batches of one size.

    Attributes:
        batch: images at a time.
        accuracy: top-1; None without labels.
        latency: of a batch, from ready tensor to answers, in milliseconds.
        ms_per_image: all of that time over all images.
        statistics: the exits taken, and what else the classifier counts.
    """

    batch: int
    accuracy: float | None
    latency: Latency
    ms_per_image: float
    statistics: Statistics


def evaluate_policy(
    classifier: AnytimeClassifier,
    images: Sequence[ImageInput],
    labels: npt.NDArray[np.int64] | None,
    policy: Policy | str | None,
    *,
    batches: Sequence[int] = (1, 16),
    progress: Progress = SILENT,
) -> list[Measured]:
    """Classify every image once with each batch size; the sizes take turns over blocks of images.

    Reading and preparing the images is not timed.

    Args:
        classifier: the bundle, loaded with layout `segments`.
        images: the images.
        labels: their classes `(N,)`, or None.
        policy: as `classify` takes it.
        batches: images at a time, 1 or more.
        progress: told how far it is. A call that is not counted follows, as the telling disturbs.

    Raises:
        DataError: no images, or one cannot be read.
    """
    if not len(images):
        raise DataError("there are no images to evaluate on")
    tallies = [_Tally(batch, len(classifier.exits)) for batch in batches]
    deadline = classifier.deadline_ms(policy)
    heartbeat = Heartbeat(TELL_SECONDS)
    preprocessor = Preprocessor(classifier.input)
    for start in range(0, len(images), BLOCK):
        progress.advance(start, len(images))
        block = [images[i] for i in range(start, min(start + BLOCK, len(images)))]
        [ready] = preprocessor.batches(block, len(block))
        for tally in tallies:
            for _ in range(WARMUP if start == 0 else 1):  # the other size has just had the caches
                classifier.classify(ready[: tally.batch], policy, batch_size=tally.batch)
            for row in range(0, len(ready), tally.batch):
                rows = ready[row : row + tally.batch]
                if heartbeat.due():
                    progress.advance(start, len(images), f"{row} in batches of {tally.batch}")
                    classifier.classify(rows, policy, batch_size=tally.batch)
                broken = classifier.non_finite
                started = time.perf_counter_ns()
                answers = classifier.classify(rows, policy, batch_size=tally.batch)
                milliseconds = (time.perf_counter_ns() - started) * 1e-6
                tally.add(answers, milliseconds, deadline, classifier.non_finite - broken)
    return [tally.measured(labels) for tally in tallies]


class _Tally:
    def __init__(self, batch: int, exits: int) -> None:
        self.batch = batch
        self._counts = Counts(exits)
        self._named: list[int] = []
        self._milliseconds: list[float] = []

    def add(self, answers: list[Prediction], milliseconds: float, deadline: float | None, non_finite: int) -> None:
        self._counts.add(answers, deadline)
        self._counts.add_non_finite(non_finite)
        self._named += [answer.index for answer in answers]
        self._milliseconds.append(milliseconds)

    def measured(self, labels: npt.NDArray[Any] | None) -> Measured:
        return Measured(
            batch=self.batch,
            accuracy=None if labels is None else float(np.mean(np.array(self._named) == labels)),
            latency=Latency.of(self._milliseconds),
            ms_per_image=sum(self._milliseconds) / len(self._named),
            statistics=self._counts.statistics(),
        )
