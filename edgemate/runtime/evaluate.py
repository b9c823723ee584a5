"""Really answering a split with a policy, and timing it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.errors import DataError
from edgemate.monitoring import Statistics
from edgemate.policies import Policy
from edgemate.progress import SILENT, Progress
from edgemate.runtime.classifier import AnytimeClassifier
from edgemate.runtime.counting import Counts
from edgemate.runtime.prediction import Prediction
from edgemate.runtime.preprocessing import ImageInput
from edgemate.timing import Latency, report_between_calls, time_in_turns

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
        decode_ms: reading and decoding, per image.
        prepare_ms: resize, crop and normalization, per image.
    """

    batch: int
    accuracy: float | None
    latency: Latency
    ms_per_image: float
    statistics: Statistics
    decode_ms: float = 0.0
    prepare_ms: float = 0.0

    @property
    def total_ms(self) -> float:
        """Per image, from the file or array to the answer."""
        return self.decode_ms + self.prepare_ms + self.ms_per_image


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

    Decoding and preparing the images is timed apart, once, one image at a time.

    Args:
        classifier: the bundle, loaded with layout `segments`.
        images: the images.
        labels: their classes `(N,)`, or None.
        policy: as `classify` takes it.
        batches: images at a time, 1 or more.
        progress: advanced at most once a second. A call that is not timed follows, as reporting disturbs the caches.

    Raises:
        DataError: no images, or one cannot be read.
    """
    if not len(images):
        raise DataError("there are no images to evaluate on")
    tallies = [_Tally(batch, len(classifier.exits)) for batch in batches]
    deadline = classifier.deadline_ms(policy)
    start, done, batch = 0, 0, next(iter(batches), 1)
    report = report_between_calls(lambda: progress.advance(start, len(images), f"{done} in batches of {batch}"))
    decode_ms = prepare_ms = 0.0
    for start in range(0, len(images), BLOCK):
        progress.advance(start, len(images))
        block = [classifier.preprocessor.timed(images[i]) for i in range(start, min(start + BLOCK, len(images)))]
        decode_ms += sum(prepared.decode_ms for prepared in block)
        prepare_ms += sum(prepared.prepare_ms for prepared in block)
        ready = np.stack([prepared.array for prepared in block])
        calls = {
            i: [
                _call(classifier, ready[row : row + tally.batch], policy, tally.batch)
                for row in range(0, len(ready), tally.batch)
            ]
            for i, tally in enumerate(tallies)
        }
        if deadline is not None:
            _measure_segments(classifier, ready, policy, batches)
        warmup = WARMUP if start == 0 else 1  # the other size has just had the caches
        for timed in time_in_turns(calls, warmup=warmup, before=report):
            tally, (answers, non_finite) = tallies[timed.key], timed.result
            tally.add(answers, timed.milliseconds, deadline, non_finite)
            done, batch = (timed.index + 1) * tally.batch, tally.batch
    per_image = (decode_ms / len(images), prepare_ms / len(images))
    return [replace(tally.measured(labels), decode_ms=per_image[0], prepare_ms=per_image[1]) for tally in tallies]


def _measure_segments(
    classifier: AnytimeClassifier, ready: npt.NDArray[Any], policy: Policy | str | None, batches: Sequence[int]
) -> None:
    """Classify a batch of each size once: a deadline measures the segments at the first batch of a new size."""
    for size in sorted({size for batch in batches for size in (min(batch, len(ready)), len(ready) % batch)} - {0}):
        classifier.classify(ready[:size], policy, batch_size=size)


def _call(
    classifier: AnytimeClassifier, images: npt.NDArray[Any], policy: Policy | str | None, batch: int
) -> Callable[[], tuple[list[Prediction], int]]:
    """A call that classifies these images as one batch: its answers, and how many logits were not finite."""

    def call() -> tuple[list[Prediction], int]:
        before = classifier.non_finite
        answers = classifier.classify(images, policy, batch_size=batch)
        return answers, classifier.non_finite - before

    return call


class _Tally:
    def __init__(self, batch: int, exits: int) -> None:
        self.batch = batch
        self._counts = Counts(exits)
        self._named: list[int] = []
        self._milliseconds: list[float] = []

    def add(self, answers: list[Prediction], milliseconds: float, deadline: float | None, non_finite: int) -> None:
        self._counts.add(answers, deadline)
        self._counts.add_non_finite(non_finite)
        self._named += [-1 if answer.index is None else answer.index for answer in answers]  # -1 is no label
        self._milliseconds.append(milliseconds)

    def measured(self, labels: npt.NDArray[Any] | None) -> Measured:
        return Measured(
            batch=self.batch,
            accuracy=None if labels is None else float(np.mean(np.array(self._named) == labels)),
            latency=Latency.of(self._milliseconds),
            ms_per_image=sum(self._milliseconds) / len(self._named),
            statistics=self._counts.statistics(),
        )
