from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from edgemate.policies import scores

LOGITS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.floats(-1e4, 1e4, width=32),
)


@given(LOGITS)
def test_scores_are_those_of_the_softmax_in_double_precision(logits: np.ndarray) -> None:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    probabilities = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    plogp = np.where(probabilities > 0, probabilities * np.log(np.where(probabilities > 0, probabilities, 1)), 0)
    ranked = np.sort(probabilities, axis=1)
    np.testing.assert_allclose(scores.softmax(logits), probabilities, atol=1e-6)
    np.testing.assert_allclose(scores.max_probability(logits), ranked[:, -1], rtol=1e-6)
    np.testing.assert_allclose(scores.entropy(logits), -plogp.sum(axis=1), atol=3e-6)
    if logits.shape[1] > 1:
        np.testing.assert_allclose(scores.margin(logits), ranked[:, -1] - ranked[:, -2], atol=1e-6)


@given(LOGITS)
def test_scores_stay_in_their_ranges(logits: np.ndarray) -> None:
    classes = logits.shape[1]
    confidence = scores.max_probability(logits)
    assert confidence.dtype == np.float32
    assert ((confidence >= 1 / classes - 1e-6) & (confidence <= 1)).all()
    assert ((scores.entropy(logits) >= 0) & (scores.entropy(logits) <= np.log(classes) + 1e-5)).all()
    assert ((scores.margin(logits) >= 0) & (scores.margin(logits) <= 1)).all()


@given(LOGITS, st.integers(0, 5))
def test_an_image_scores_the_same_alone_as_in_its_batch(logits: np.ndarray, row: int) -> None:
    row %= len(logits)
    for score in (scores.max_probability, scores.entropy, scores.margin):
        np.testing.assert_allclose(score(logits[row : row + 1]), score(logits)[row : row + 1], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("score", [scores.max_probability, scores.entropy, scores.margin])
def test_an_empty_batch_has_no_scores(score) -> None:
    assert score(np.empty((0, 5), np.float32)).shape == (0,)


def test_one_class_is_certain() -> None:
    logits = np.array([[-3.0], [8.0]], np.float32)
    assert scores.max_probability(logits).tolist() == [1, 1]
    assert scores.entropy(logits).tolist() == [0, 0]
    assert scores.margin(logits).tolist() == [1, 1]


def test_a_tie_has_no_margin() -> None:
    assert scores.margin(np.array([[2.0, 2.0, -1.0]], np.float32)).tolist() == [0]


def test_finite_marks_nan_and_both_infinities() -> None:
    logits = np.array([[0, 1], [np.nan, 1], [np.inf, 1], [0, -np.inf], [np.inf, -np.inf]], np.float32)
    assert scores.finite(logits).tolist() == [True, False, False, False, False]
