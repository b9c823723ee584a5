"""The report of every exit, from the graphs of a bundle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgemate.core.class_report import ClassReport
from edgemate.progress import SILENT, Progress
from edgemate.runtime.classifier import AnytimeClassifier
from edgemate.runtime.preprocessing import ImageInput


def report_exits(
    classifier: AnytimeClassifier,
    images: Sequence[ImageInput],
    labels: npt.NDArray[np.int64],
    *,
    batch: int = 16,
    progress: Progress = SILENT,
) -> ClassReport:
    """Run every image through all exits, whatever the policies are.

    Args:
        classifier: the bundle, loaded with layout `segments`.
        images: N images, at least one.
        labels: their classes, (N,).
        batch: images at a time, fewer where the backend takes no more.
        progress: advanced after every batch.

    Raises:
        DataError: an image cannot be read.
    """
    batch = min(batch, classifier.backend.largest_batch or batch)
    preprocessor = classifier.preprocessor
    reports, start = [], 0
    for start in range(0, len(images), batch):
        progress.advance(start, len(images))
        [ready] = preprocessor.batches([images[i] for i in range(start, min(start + batch, len(images)))], batch)
        flow = classifier.backend.begin(ready)
        logits = np.stack([np.array(flow.advance()) for _ in classifier.exits], axis=1)
        reports.append(ClassReport.of(logits, labels[start : start + len(ready)], classifier.classes))
    return sum(reports[1:], reports[0])
