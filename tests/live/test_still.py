"""A frame like the last computed one keeps its answer, and the rest of the network is not run for it."""

from __future__ import annotations

import numpy as np
import pytest
from bundles import golden_images
from counting_backend import CountingBackend
from hypothesis import given
from hypothesis import strategies as st

from edgemate.bundle import Bundle
from edgemate.errors import BackendError, UsageError
from edgemate.live.still import Still, difference
from edgemate.policies import Confidence
from edgemate.runtime import AnytimeClassifier

pytest.importorskip("onnxruntime")


class Seen(CountingBackend):
    """Counts segments; its passes give their features."""

    def begin(self, images: np.ndarray):  # type: ignore[no-untyped-def]
        flow = super().begin(images)
        flow.features = flow._inner.features
        return flow


@pytest.fixture
def seen(small_bundle: Bundle) -> Seen:
    return Seen(AnytimeClassifier.load(small_bundle, threads=1).backend)


def still(bundle: Bundle, backend: Seen, threshold: float) -> Still:
    return Still(AnytimeClassifier(bundle, backend), threshold)


def test_equal_frames_cost_one_segment_each(small_bundle: Bundle, seen: Seen) -> None:
    frames, never = still(small_bundle, seen, 0.0), Confidence(Confidence.highest)
    image = golden_images(1)[0]
    first, kept = frames.classify(image, never)
    assert not kept
    assert [exit for exit, _ in seen.calls] == [1, 2, 3]
    again, kept = frames.classify(image.copy(), never)
    assert kept
    assert (again.index, again.exit, again.probability) == (first.index, first.exit, first.probability)
    assert [exit for exit, _ in seen.calls] == [1, 2, 3, 1]
    assert frames.classifier.statistics().images == 1, "an answer that was kept is not a new one"


def test_a_frame_that_differs_is_computed_and_is_what_later_ones_are_compared_with(small_bundle: Bundle) -> None:
    frames = Still(AnytimeClassifier.load(small_bundle, threads=1), 0.02)
    images = golden_images(4)
    for image in images:
        answer, kept = frames.classify(image, None)
        assert not kept
        [alone] = frames.classifier.classify(image)
        assert answer.index == alone.index
    assert frames.classify(images[3], None)[1]
    assert not frames.classify(images[2], None)[1]


def test_a_slow_change_adds_up(small_bundle: Bundle) -> None:
    """Each frame differs little from the last one, but not from the last that was computed."""
    frames = Still(AnytimeClassifier.load(small_bundle, threads=1), 0.05)
    start, end = golden_images(2)
    kept = [frames.classify((start + (end - start) * step / 100).astype(np.float32), None)[1] for step in range(101)]
    assert 5 < kept.count(False) < 100


def test_nothing_is_kept_after_forgetting(small_bundle: Bundle) -> None:
    frames = Still(AnytimeClassifier.load(small_bundle, threads=1), 0.5)
    image = golden_images(1)[0]
    frames.classify(image, None)
    frames.forget()
    assert not frames.classify(image, None)[1]


def test_what_cannot_be_is_refused(small_bundle: Bundle) -> None:
    loaded = AnytimeClassifier.load(small_bundle, threads=1)
    for threshold in (-0.1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match=r"^still: must be 0 or more"):
            Still(loaded, threshold)
    plain = CountingBackend(loaded.backend)  # gives no features
    with pytest.raises(BackendError, match="does not give the features"):
        Still(AnytimeClassifier(small_bundle, plain), 0.1).classify(golden_images(1)[0], None)


@given(st.integers(0, 100), st.floats(0.1, 10))
def test_the_difference_is_in_units_of_the_features(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    one = {"a": rng.normal(size=(1, 2, 3)).astype(np.float32), "b": rng.normal(size=(1, 5)).astype(np.float32)}
    assert difference(one, one) == 0
    scaled = {name: (array * scale).astype(np.float32) for name, array in one.items()}
    assert difference(scaled, one) == pytest.approx(abs(scale - 1), abs=1e-5)
    zero = {name: np.zeros_like(array) for name, array in one.items()}
    assert difference(zero, zero) == 0
    assert difference(one, zero) == float("inf")
