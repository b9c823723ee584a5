"""What the page's script computes with: confidences and correctness of every image, as base64."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.report.budgets import Budget, slider_positions
from edgemate.report.subject import Subject


def subject_payload(subject: Subject, budgets: Sequence[Budget], start: Sequence[float]) -> dict[str, Any]:
    """One subject as JSON values.

    The confidences are the float32 numbers themselves, so that comparing them in JavaScript with a threshold rounded to
    float32 stops exactly the images that numpy stops.

    Args:
        subject: the subject.
        budgets: thresholds for each budget.
        start: the thresholds that the page starts with, `(K-1,)`.
    """
    costs, confidences = subject.costs, subject.confidences()
    return {
        "name": subject.name,
        "kind": subject.kind,
        "path": shlex.quote(str(subject.opened.path)),
        "source": subject.source,
        "images": subject.images,
        "classes": list(subject.classes),
        "cuts": list(subject.cuts),
        "labels": _base64(subject.labels.astype("<u2")),
        "confidences": [_base64(row.astype("<f4")) for row in confidences],
        "correct": [_base64(np.packbits(row, bitorder="little")) for row in subject.correct.T],
        "macs": list(costs.macs),
        "ms": None if costs.milliseconds is None else list(costs.milliseconds),
        "mj": None if costs.millijoules is None else list(costs.millijoules),
        "calibrated": subject.calibration is not None,
        "points": [
            {"name": point.name, "goal": point.goal, "thresholds": list(thresholds)}
            for point in subject.points
            if (thresholds := subject.thresholds_of(point)) is not None
        ],
        "budgets": [{"macs": budget.macs, "thresholds": list(budget.thresholds)} for budget in budgets],
        "positions": [slider_positions(row) for row in confidences],
        "start": list(start),
    }


def _base64(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
