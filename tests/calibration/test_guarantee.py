from __future__ import annotations

import itertools
import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from stored_logits import make_stored

from edgemate.calibration import StoredSplit, certify, simulate
from edgemate.calibration.guarantee import p_value, samples_required
from edgemate.errors import UsageError
from edgemate.policies import Confidence, Entropy, Margin


@pytest.mark.parametrize(("lost", "gained"), [(0.3, 0.0), (0.35, 0.05), (0.6, 0.3), (0.9, 0.1)])
@pytest.mark.parametrize("risk", [0.3, 0.2])
def test_a_false_certificate_is_given_no_more_often_than_delta(lost: float, gained: float, risk: float) -> None:
    """Exactly, by summing over everything that 20 images can do where the accuracy lost is `risk` or more."""
    assert lost - gained >= risk
    images, rejected = 20, {0.05: 0.0, 0.2: 0.0}
    for losses, gains in itertools.product(range(images + 1), repeat=2):
        rest = images - losses - gains
        if rest < 0:
            continue
        ways = math.comb(images, losses) * math.comb(images - losses, gains)
        probability = ways * lost**losses * gained**gains * max(1 - lost - gained, 0.0) ** rest
        for delta in rejected:
            rejected[delta] += probability * (p_value((losses, gains), images, risk) <= delta)
    assert all(fraction <= delta for delta, fraction in rejected.items())


def test_certified_bounds_hold_on_fresh_images_as_often_as_certified() -> None:
    # Drawn with replacement, so what happens to all of them is the truth.
    logits, labels, costs = _network(10_000, seed=1)
    truth = StoredSplit(logits, labels, costs)
    full = truth.correct[:, -1].mean()
    broken, random = 0, np.random.default_rng(2)
    for _ in range(60):
        rows = random.integers(0, truth.images, 800)
        policy = certify(truth.part(rows), 0.02, 0.1).policy
        broken += full - simulate(logits, labels, costs, policy).accuracy > 0.02
    assert broken <= 6 + 3 * math.sqrt(60 * 0.1 * 0.9)


def _network(images: int, seed: int) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Two exits and two classes; exit 1 is less often right where its confidence is lower."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, images)
    confidence = random.uniform(0, 4, images).astype(np.float32)
    right = random.random(images) < 1 / (1 + np.exp(-2 * confidence))
    logits = np.zeros((images, 2, 2), np.float32)
    logits[np.arange(images), 0, np.where(right, labels, 1 - labels)] = confidence
    logits[np.arange(images), 1, np.where(random.random(images) < 0.95, labels, 1 - labels)] = 1
    return logits, labels, [1.0, 3.0]


@pytest.mark.parametrize("score_policy", [Confidence, Margin, Entropy])
def test_more_risk_and_more_images_stop_earlier(score_policy) -> None:
    logits, labels, costs = _network(6000, seed=0)
    split = StoredSplit(logits, labels, costs)

    def cost(risk: float, images: int) -> float:
        part = split.part(np.arange(images))
        return simulate(logits, labels, costs, certify(part, risk, 0.05, score_policy).policy).mean_cost

    assert cost(0.05, 6000) < cost(0.01, 6000) < costs[-1]
    assert cost(0.02, 6000) < cost(0.02, 600)


def test_too_few_images_certify_nothing_and_the_required_samples_are_given() -> None:
    logits, labels, costs = _network(100, seed=0)
    found = certify(StoredSplit(logits, labels, costs), 0.01, 0.05)
    assert simulate(logits, labels, costs, found.policy).fractions == (0, 1)
    assert found.required_samples == samples_required((0, 0), 100, 0.01, 0.05)
    assert 300 < found.required_samples < 1000
    enough = np.zeros((found.required_samples, 2, 2), np.float32)
    enough[:, :, 0] = 50
    certified = certify(StoredSplit(enough, np.zeros(found.required_samples, np.int64), costs), 0.01, 0.05)
    assert (found.certified, certified.certified, certified.required_samples) == (False, True, None)
    fewer = certify(StoredSplit(enough[1:], np.zeros(found.required_samples - 1, np.int64), costs), 0.01, 0.05)
    assert fewer.required_samples == found.required_samples


def test_images_that_lose_need_more_of_them() -> None:
    assert samples_required((5, 0), 1000, 0.01, 0.05) > samples_required((0, 0), 1000, 0.01, 0.05)
    assert samples_required((20, 0), 1000, 0.01, 0.05) == samples_required((0, 0), 1000, 0.01, 0.05)


@pytest.mark.parametrize("delta", [0.5, 0.05, 1e-6])
def test_a_loss_that_is_hardly_below_the_risk_needs_an_unknown_number_of_images(delta: float) -> None:
    assert samples_required((2, 1), 24, 0.0421, delta) is None
    assert samples_required((0, 0), 24, 1e-300, delta) is None


@given(st.integers(1, 500), st.data(), st.floats(1e-9, 0.999), st.floats(1e-9, 0.999))
def test_the_required_samples_suffice_and_one_fewer_does_not(
    images: int, data: st.DataObject, risk: float, delta: float
) -> None:
    lost = data.draw(st.integers(0, images))
    gained = data.draw(st.integers(0, images - lost))
    required = samples_required((lost, gained), images, risk, delta)
    if required is None:
        return
    if (lost - gained) / images >= risk:
        lost = gained = 0

    def value(number: int) -> float:
        return p_value((lost / images * number, gained / images * number), number, risk)

    assert value(required) <= delta
    assert required == 1 or value(required - 1) > delta


def test_fitted_temperatures_do_not_enter_the_choice() -> None:
    logits, labels, costs = _network(2000, seed=0)
    plain = certify(StoredSplit(logits, labels, costs), 0.02, 0.05).policy
    warm = certify(StoredSplit(logits, labels, costs, (3.0,)), 0.02, 0.05).policy
    assert (plain.threshold, plain.temperature) == (warm.threshold, (1.0,))


def test_one_exit_is_certified() -> None:
    found = certify(StoredSplit(*make_stored(50, 1, 3)), 0.01, 0.05)
    assert (found.policy.threshold, found.certified, found.required_samples) == ((), True, None)


@pytest.mark.parametrize(("risk", "delta", "name"), [(0.0, 0.05, "risk"), (0.01, 1.0, "delta"), (1.5, 0.1, "risk")])
def test_numbers_out_of_range_are_named(risk: float, delta: float, name: str) -> None:
    with pytest.raises(UsageError, match=f"{name}: must lie between 0 and 1"):
        certify(StoredSplit(*make_stored(50, 2, 3)), risk, delta)
