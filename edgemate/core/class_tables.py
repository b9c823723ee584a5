"""Reports of several splits as CSV: accuracy by class, and what is taken for what."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgemate.core.class_report import ClassReport


def per_class_csv(reports: Mapping[str, ClassReport]) -> str:
    """A row per split and class: its images, and its accuracy at every exit; that is empty if it has no images."""
    exits = next(iter(reports.values())).exits
    rows = [
        [split, name, images, *("" if np.isnan(value) else f"{value:.6g}" for value in report.class_accuracy[:, i])]
        for split, report in reports.items()
        for i, (name, images) in enumerate(zip(report.classes, report.class_images.tolist(), strict=True))
    ]
    return _csv(["split", "class", "images", *(f"exit{k + 1}" for k in range(exits))], rows)


def confusion_csv(reports: Mapping[str, ClassReport]) -> str:
    """A row per split, exit, class and named class with at least one image. All other cells of the matrices are 0."""
    rows = [
        [split, k + 1, report.classes[i], report.classes[j], int(report.confusion[k, i, j])]
        for split, report in reports.items()
        for k in range(report.exits)
        for i, j in np.argwhere(report.confusion[k]).tolist()
    ]
    return _csv(["split", "exit", "class", "named", "images"], rows)


def _csv(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
