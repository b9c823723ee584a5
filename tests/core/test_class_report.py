from __future__ import annotations

import csv
import io

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemate.core.class_report import ClassReport
from edgemate.core.class_tables import confusion_csv, per_class_csv
from edgemate.core.scoring import confusion_matrices, exit_accuracy, top_k_accuracy

Case = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Logits of few different values, so that there are ties, and labels that may leave classes out."""
    images, exits, classes = draw(st.integers(1, 30)), draw(st.integers(1, 4)), draw(st.integers(1, 9))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = random.integers(-3, 4, (images, exits, classes)).astype(np.float32)
    values[random.random(values.shape) < draw(st.sampled_from([0.0, 0.1]))] = np.nan
    return values, random.integers(0, classes, images)


def names(logits: npt.NDArray[np.float32]) -> list[str]:
    return [f"class {i}" for i in range(logits.shape[-1])]


@given(cases())
def test_rows_sum_to_the_images_of_a_class_and_the_trace_is_top_1(case: Case) -> None:
    logits, labels = case
    matrices = confusion_matrices(logits, labels)
    for k, matrix in enumerate(matrices):
        assert matrix.sum(1).tolist() == np.bincount(labels, minlength=logits.shape[-1]).tolist()
        assert matrix.sum(0).tolist() == np.bincount(logits[:, k].argmax(-1), minlength=logits.shape[-1]).tolist()
        assert matrix.trace() / len(labels) == pytest.approx(exit_accuracy(logits, labels)[k])


@given(cases())
def test_top_k_grows_from_top_1_to_all(case: Case) -> None:
    logits, labels = case
    fractions = np.array([top_k_accuracy(logits, labels, k) for k in range(1, logits.shape[-1] + 1)])
    assert (np.diff(fractions, axis=0) >= 0).all()
    assert fractions[0] == pytest.approx(exit_accuracy(logits, labels))
    assert fractions[-1] == pytest.approx(1)


@given(cases(), st.integers(1, 9))
def test_top_k_is_that_of_a_stable_sort(case: Case, k: int) -> None:
    logits, labels = case
    order = np.argsort(-np.where(np.isnan(logits), np.inf, logits), axis=-1, kind="stable")[..., :k]
    assert top_k_accuracy(logits, labels, k) == pytest.approx((order == labels[:, None, None]).any(-1).mean(0))


@given(cases(), st.data())
def test_reports_of_batches_add_up(case: Case, data: st.DataObject) -> None:
    logits, labels = case
    cut = data.draw(st.integers(0, len(labels)))
    parts = [
        ClassReport.of(logits[rows], labels[rows], names(logits))
        for rows in (slice(cut), slice(cut, None))
        if len(labels[rows])
    ]
    whole = ClassReport.of(logits, labels, names(logits))
    assert sum(parts[1:], parts[0]).to_json(confusion=True) == whole.to_json(confusion=True)


@given(cases())
def test_the_mean_of_class_accuracies_weighted_by_images_is_top_1(case: Case) -> None:
    logits, labels = case
    report = ClassReport.of(logits, labels, names(logits))
    accuracy, images = report.class_accuracy, report.class_images
    assert (np.isnan(accuracy) == (images == 0)).all()
    for k in range(report.exits):
        assert np.nansum(accuracy[k] * images) / report.images == pytest.approx(report.top1[k])
        worst = report.worst_first(k + 1)
        assert [accuracy[k, i] for i in worst] == sorted(accuracy[k][images > 0])
        mistakes = report.confusions(k + 1)
        assert sum(count for *_, count in mistakes) == report.images - report.confusion[k].trace()
        assert all(report.confusion[k, i, j] == count and i != j for i, j, count in mistakes)
    assert (report.top5 is None) == (logits.shape[-1] <= 5)
    if report.top5 is not None:
        assert (report.top5 >= report.top1).all()


@given(cases())
def test_the_tables_hold_the_report(case: Case) -> None:
    logits, labels = case
    report = ClassReport.of(logits, labels, names(logits))
    rows = list(csv.DictReader(io.StringIO(per_class_csv({"test": report}))))
    assert [(row["split"], row["class"], int(row["images"])) for row in rows] == [
        ("test", name, images) for name, images in zip(report.classes, report.class_images, strict=True)
    ]
    for i, row in enumerate(rows):
        for k in range(report.exits):
            cell, value = row[f"exit{k + 1}"], report.class_accuracy[k, i]
            assert cell == "" if np.isnan(value) else float(cell) == pytest.approx(value, rel=1e-5)
    matrices = np.zeros_like(report.confusion)
    for row in csv.DictReader(io.StringIO(confusion_csv({"test": report}))):
        place = int(row["exit"]) - 1, report.classes.index(row["class"]), report.classes.index(row["named"])
        matrices[place] = int(row["images"])
    assert (matrices == report.confusion).all()
