from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemate.evaluation import (
    ensemble_accuracy,
    exit_accuracy,
    expected_calibration_error,
    negative_log_likelihood,
)

Case = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    images, exits, classes = draw(st.integers(1, 30)), draw(st.integers(1, 4)), draw(st.integers(1, 5))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([0.1, 3.0, 50.0, 1000.0]))
    logits = (random.standard_normal((images, exits, classes)) * scale).astype(np.float32)
    return logits, random.integers(0, classes, images)


def probabilities(row: npt.NDArray[np.float32]) -> list[float]:
    top = max(map(float, row))
    weights = [math.exp(float(logit) - top) for logit in row]
    return [weight / sum(weights) for weight in weights]


@given(cases())
def test_accuracy_is_the_fraction_of_correct_predictions(case: Case) -> None:
    logits, labels = case
    for k, accuracy in enumerate(exit_accuracy(logits, labels)):
        right = sum(int(np.argmax(logits[i, k])) == label for i, label in enumerate(labels))
        assert accuracy == pytest.approx(right / len(labels))


@given(cases())
def test_likelihood_is_that_of_the_label(case: Case) -> None:
    logits, labels = case
    for k, nll in enumerate(negative_log_likelihood(logits, labels)):
        naive = 0.0
        for i, label in enumerate(labels):
            row = logits[i, k].astype(np.float64)
            naive += max(row) + math.log(sum(math.exp(v - max(row)) for v in row)) - row[label]
        assert nll == pytest.approx(naive / len(labels), rel=1e-9, abs=1e-9)
        assert nll >= 0


@given(cases(), st.integers(1, 20))
def test_calibration_error_is_that_of_its_definition(case: Case, bins: int) -> None:
    logits, labels = case
    for k, error in enumerate(expected_calibration_error(logits, labels, bins)):
        contents: dict[int, list[tuple[float, bool]]] = {}
        for i, label in enumerate(labels):
            p = probabilities(logits[i, k])
            contents.setdefault(max(1, math.ceil(max(p) * bins)), []).append((max(p), p.index(max(p)) == label))
        naive = 0.0
        for members in contents.values():
            confidence = sum(c for c, _ in members) / len(members)
            accuracy = sum(right for _, right in members) / len(members)
            naive += len(members) / len(labels) * abs(accuracy - confidence)
        assert error == pytest.approx(naive, abs=1e-6)
        assert 0 <= error <= 1


def test_calibration_error_of_known_cases() -> None:
    sure = np.array([[[100.0, 0.0]]], np.float32).repeat(10, 0)
    assert expected_calibration_error(sure, np.zeros(10, np.int64)) == pytest.approx([0.0])
    assert expected_calibration_error(sure, np.ones(10, np.int64)) == pytest.approx([1.0])
    unsure = np.zeros((10, 1, 2), np.float32)
    assert expected_calibration_error(unsure, np.arange(10) % 2) == pytest.approx([0.0])


@given(cases())
def test_the_ensemble_of_equal_exits_is_one_exit(case: Case) -> None:
    logits, labels = case
    same = logits[:, :1].repeat(3, 1)
    assert ensemble_accuracy(same, labels) == pytest.approx(exit_accuracy(same, labels)[0])


def test_the_ensemble_averages_probabilities() -> None:
    # One sure exit outvotes two that lean the other way.
    logits = np.log(np.array([[[0.98, 0.02], [0.4, 0.6], [0.4, 0.6]]], np.float32))
    assert ensemble_accuracy(logits, np.array([0])) == 1.0


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"logits \(N, K, C\) and labels \(N,\) are needed"):
        exit_accuracy(np.zeros((3, 2), np.float32), np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="are needed"):
        exit_accuracy(np.zeros((0, 2, 2), np.float32), np.zeros(0, np.int64))
