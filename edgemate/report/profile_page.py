"""`report_html`: the page from which a person chooses an operating point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgemate import __version__
from edgemate.calibration import simulate_split
from edgemate.calibration.temperature import find_temperatures
from edgemate.core.scoring import expected_calibration_error
from edgemate.policies import Confidence
from edgemate.report.charts import reliability_chart, tradeoff_chart
from edgemate.report.counted import count_tables
from edgemate.report.curves import AXES
from edgemate.report.environment import environment_rows
from edgemate.report.payload import subject_payload
from edgemate.report.rendering import render
from edgemate.report.sheet import Sheet
from edgemate.report.subject import Subject, accuracy_title
from edgemate.report.thumbnails import NoImagesError, thumbnails
from edgemate.report.who_fixes_whom import never_right, reliability, who_fixes_whom
from edgemate.wording import counted

SCRIPTS = (
    "numbers.js",
    "simulate.js",
    "theme.js",
    "charts.js",
    "controls.js",
    "classes.js",
    "images.js",
    "report.js",
)
KEY = (
    ("here", "the operating point above"),
    ("budgeted", "thresholds solved for each budget"),
    ("swept", "one threshold, swept"),
    ("points", "operating points"),
    ("exits", "always the same exit, one graph"),
    ("full", "plain network, without early exits"),
    ("front", "Pareto front"),
    ("random", "random exit: lower bound"),
    ("oracle", "oracle exit: upper bound"),
    ("measured", "early exits taken and timed, on the images measured (latency)"),
)

START = ("balanced", "accurate", "fast")
"""The operating point that the page starts with: the first of these that there is."""


def report_html(sheets: Sequence[Sheet]) -> str:
    """The page as text."""
    subjects = [sheet.subject for sheet in sheets]
    starts = [_start(subject) for subject in subjects]
    charts: dict[str, Any] = {}
    for axis in AXES:
        if all(axis in sheet.curves for sheet in sheets):
            overlaid = [(sheet.subject.name, sheet.curves[axis]) for sheet in sheets]
            charts[axis] = tradeoff_chart(axis, overlaid, accuracy_title(subjects))
    data, shown = [], []
    for sheet, start in zip(sheets, starts, strict=True):
        subject = sheet.subject
        taken = simulate_split(subject.stored, Confidence(start, temperature=subject.temperatures)).exits_taken
        try:
            images, without_images = thumbnails(subject, taken), None
        except NoImagesError as error:
            images, without_images = [], str(error)
        payload = subject_payload(subject, sheet.budgets, start)
        data.append({**payload, "thumbnails": images, "reliability": reliability_chart(_diagrams(subject))})
        shown.append(_shown(subject, without_images))
    title = ", ".join(subject.name for subject in subjects)
    return render(
        "report.html.j2",
        SCRIPTS,
        {"subjects": data, "charts": charts},
        title=f"{title}: profile",
        warning=_classes_warning(subjects),
        heading=title,
        subjects=shown,
        axes=list(charts),
        names=[f"{one.name}, {counted(one.images, 'image')} of {one.source}" for one in subjects],
        key=KEY,
        version=__version__,
    )


def _classes_warning(subjects: Sequence[Subject]) -> str | None:
    if len({subject.classes for subject in subjects}) == 1:
        return None
    counts = ", ".join(f"{subject.name} {counted(len(subject.classes), 'class')}" for subject in subjects)
    return f"the networks name different classes ({counts}), so their accuracies are of different tasks"


def _start(subject: Subject) -> tuple[float, ...]:
    usable = {point.name: subject.thresholds_of(point) for point in subject.points}
    for name in START:
        thresholds = usable.get(name)
        if thresholds is not None:
            return thresholds
    return (0.9,) * (subject.exits - 1)


def _diagrams(subject: Subject) -> dict[str, list[list[dict[str, Any]]]]:
    """The bins of each exit's reliability diagram, as trained and with the temperature that calibration fits."""
    found: dict[str, list[list[dict[str, Any]]]] = {"raw": [], "scaled": []}
    for kind, divisors in (("raw", (1.0,) * subject.exits), ("scaled", _temperatures(subject))):
        confidences = subject.stored.reductions.scores(Confidence, divisors)
        for k in range(subject.exits):
            rows = ~np.isnan(confidences[:, k])
            found[kind].append(reliability(confidences[rows, k], subject.correct[rows, k]))
    return found


def _temperatures(subject: Subject) -> Sequence[float]:
    """What the logits of each exit are divided by: `(K,)`."""
    return (1.0,) * subject.exits if subject.calibration is None else find_temperatures(*subject.calibration)


def _shown(subject: Subject, without_images: str | None) -> dict[str, Any]:
    """What the template shows of a subject."""
    profile = subject.profile
    fixes = who_fixes_whom(subject.correct)
    less_accurate = (profile.get("less_accurate") or {}).get("warning")
    warnings = [*(profile.get("warnings") or ()), *([less_accurate] if less_accurate else [])]
    if any((profile.get("not_monotone") or {}).values()):
        warnings.append(
            "some exits were slower than a later one, so the machine was busy; profile again when it is idle"
        )
    return {
        "name": subject.name,
        "split": subject.split,
        "source": subject.source,
        "calibrated": subject.calibration is not None,
        "images": subject.images,
        "exits": [
            {**exit, "accuracy": float(subject.correct[:, k].mean()), "ece": float(error)}
            for k, (exit, error) in enumerate(
                zip(profile["exits"], expected_calibration_error(subject.logits, subject.labels), strict=True)
            )
        ],
        "costs": subject.costs,
        "counts": count_tables(profile.get("counts")),
        "fixes": fixes.tolist(),
        "never_right": never_right(subject.correct),
        "warnings": warnings,
        "environment": environment_rows(profile),
        "without_images": without_images,
        "classes": len(subject.classes),
    }
