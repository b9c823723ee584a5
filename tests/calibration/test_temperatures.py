from __future__ import annotations

import math
from typing import Any

import hypothesis.strategies as st
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from stored_logits import make_stored

from edgemate.calibration import temperature
from edgemate.calibration.temperature import HIGHEST, LOWEST, find_temperatures, fit_temperature, fit_temperatures
from edgemate.core import chunks
from edgemate.core.scoring import expected_calibration_error, negative_log_likelihood


def bisected(logits: npt.NDArray[Any], labels: npt.NDArray[Any]) -> float:
    """The same temperature by bisection on the sign of the slope, in one piece."""
    logits = logits.astype(np.float64)
    low, high = 1 / HIGHEST, 1 / LOWEST
    for _ in range(60):
        middle = math.sqrt(low * high)
        weights = np.exp(middle * (logits - logits.max(axis=1, keepdims=True)))
        expected = (weights * logits).sum(axis=1) / weights.sum(axis=1)
        if (expected - logits[np.arange(len(labels)), labels]).mean() > 0:
            high = middle
        else:
            low = middle
    return 1 / math.sqrt(low * high)


@settings(max_examples=50)
@given(st.integers(0, 1000), st.sampled_from([0.02, 0.3, 1.0, 5.0, 60.0]), st.integers(2, 6), st.integers(1, 200))
def test_temperatures_are_those_of_bisection(seed: int, scale: float, classes: int, images: int) -> None:
    logits, labels, _ = make_stored(images, 3, classes, seed)
    logits *= np.float32(scale)
    expected = [bisected(logits[:, k], labels) for k in range(3)]
    np.testing.assert_allclose(find_temperatures(logits, labels), expected, rtol=1e-6)


def test_the_figures_are_those_of_the_whole_split(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels, _ = make_stored(3000, 3, 20)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 4000)
    found = fit_temperatures(logits, labels)
    scaled = logits / np.array([one.temperature for one in found])[:, None]
    np.testing.assert_allclose([one.nll_before for one in found], negative_log_likelihood(logits, labels))
    np.testing.assert_allclose([one.nll_after for one in found], negative_log_likelihood(scaled, labels))
    np.testing.assert_allclose([one.ece_before for one in found], expected_calibration_error(logits, labels))
    np.testing.assert_allclose([one.ece_after for one in found], expected_calibration_error(scaled, labels))


def test_a_sample_only_starts_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels, _ = make_stored(2000, 4, 10)
    whole = find_temperatures(logits, labels)
    monkeypatch.setattr(temperature, "SAMPLE_BYTES", 40 * 4 * 4 * 10)
    np.testing.assert_allclose(find_temperatures(logits, labels), whole, rtol=1e-9)


def test_a_sample_that_is_always_right_does_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = np.tile(np.float32([3, 0]), (1000, 1, 1)), np.zeros(1000, np.int64)
    monkeypatch.setattr(temperature, "SAMPLE_BYTES", 8)
    assert find_temperatures(logits, labels) == [pytest.approx(LOWEST)]
    labels[:100] = 1
    assert find_temperatures(logits, labels) == [pytest.approx(3 / math.log(9))]


def test_images_without_finite_logits_are_left_out() -> None:
    logits, labels, _ = make_stored(200, 2, 5)
    damaged = logits.copy()
    damaged[:50, 0, 2] = np.nan
    damaged[:, 1, 0] = np.inf
    first, second = fit_temperatures(damaged, labels)
    assert first.temperature == pytest.approx(fit_temperature(logits[50:, 0], labels[50:]).temperature, rel=1e-9)
    assert second == temperature.Fitted(1.0, 0.0, 0.0, 0.0, 0.0)
