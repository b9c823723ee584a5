"""EENet's learned scheduler (Ilhan et al. 2024, arXiv 2301.07099): a small score per exit, trained on a stored split.

As there, the score of an exit is a sigmoid of a linear function of its class probabilities, the largest of them, their
entropy and the earlier exits' scores, trained by Adam after the network, under a budget. Our reconstruction is the
objective: an image stops at exit k with probability π_k = s_k Π_{j<k} (1 − s_j); what is minimized is the expected
error Σ π_k [exit k is wrong] with a price on the mean cost that rises while Σ π_k c_k is above the budget and falls
while it is below. All images are in every step, up to `TRAINED_BYTES` of logits: of a larger split, a random sample
is. Thresholds on the scores come from direct search on all images afterwards.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from edgemate.calibration.goals import Goal
from edgemate.calibration.solvers.direct import search
from edgemate.calibration.solvers.problem import Array, Problem
from edgemate.calibration.stored_split import StoredSplit
from edgemate.core.chunks import map_chunks
from edgemate.policies import scores
from edgemate.policies.learned import Learned, features, learned_score
from edgemate.policies.policy import Policy

STEPS = 300
LEARNING_RATE = 0.05
DECAY = 1e-3  # of the weights, in the loss
PRICE_RATE = 0.02
TRAINED_BYTES = 64 << 20
"""In float32, of the logits of the images that scores are trained on. Their features take several times as much."""

# Budgets to train for where the goal names none, as fractions of the way from exit 1's cost to the whole network's.
BUDGETS = (0.1, 0.3, 0.6)


def eenet(split: StoredSplit, goal: Goal) -> Policy:
    """The learned scheduler for a goal.

    Args:
        split: the stored logits and costs.
        goal: the goal to reach.
    """
    if split.exits == 1:
        return Learned((), weights=())
    first, last = split.costs[0], split.costs[-1]
    budgets = [first + part * (last - first) for part in BUDGETS] if goal.max_cost is None else [goal.max_cost]
    found = []
    for budget in budgets:
        key = ("eenet", budget, split.divisors, tuple(split.costs))
        weights, problem = split.reductions.once(key, partial(_trained, split, budget))
        thresholds = search(problem, goal)
        policy = Learned(thresholds, weights=weights, temperature=split.temperatures)
        found.append((problem.rank(thresholds, goal), policy))
    return min(found, key=lambda pair: pair[0])[1]


def _trained(split: StoredSplit, budget: float) -> tuple[list[Array], Problem]:
    weights = train_scores(split, budget)
    return weights, scored(split, weights)


def train_scores(split: StoredSplit, budget: float) -> list[Array]:
    """The weights of each exit but the last: K-1 float32 vectors, as `Learned` takes them.

    Args:
        split: the stored logits and costs to train on.
        budget: the mean cost to train for, in the unit of the split's costs.
    """
    split = _sample(split)
    given = [_finite_features(split, exit) for exit in range(1, split.exits)]
    wrong = 1.0 - split.correct
    span = (split.costs[-1] - split.costs[0]) or 1.0
    costs = (np.asarray(split.costs, dtype=np.float64) - split.costs[0]) / span
    target = (budget - split.costs[0]) / span
    weights = [_first_guess(len(given[0][0]) - 1, k) for k in range(len(given))]
    first, second = [np.zeros_like(w) for w in weights], [np.zeros_like(w) for w in weights]
    price = 0.1
    for step in range(1, STEPS + 1):
        slopes, mean_cost = _gradients(given, weights, wrong, costs, price)
        price = max(price + PRICE_RATE * (mean_cost - target), 0.0)
        for k, slope in enumerate(slopes):
            slope = slope + DECAY * weights[k]
            first[k] += 0.1 * (slope - first[k])
            second[k] += 0.001 * (slope**2 - second[k])
            size = LEARNING_RATE / (1 - 0.9**step)
            weights[k] = weights[k] - size * first[k] / (np.sqrt(second[k] / (1 - 0.999**step)) + 1e-8)
    return [w.astype(np.float32) for w in weights]


def scored(split: StoredSplit, weights: list[Array]) -> Problem:
    """The problem of choosing thresholds on the learned scores."""
    found = np.empty((split.images, split.exits - 1), dtype=np.float32, order="F")

    def of_chunk(chunk: Array, rows: slice) -> None:
        score = np.empty((len(chunk), len(weights)), dtype=np.float32)
        finite = np.empty_like(score, dtype=np.bool_)
        for k, row in enumerate(weights):
            logits, finite[:, k] = _finite_logits(chunk[:, k], split.divisors[k])
            score[:, k] = np.where(finite[:, k], learned_score(features(logits, score[:, :k]), row), 0)
        found[rows] = np.where(finite, score, np.float32(-np.inf))

    for _ in map_chunks(of_chunk, split.logits):
        pass
    return Problem(found, split.correct, np.asarray(split.costs, dtype=np.float64), 0.0, 1.0)


def _sample(split: StoredSplit) -> StoredSplit:
    """The images to train on: all, or as many as `TRAINED_BYTES` allows, drawn at random with a fixed seed."""
    limit = TRAINED_BYTES // (4 * split.exits * split.logits.shape[2])
    if split.images <= limit:
        return split
    chosen = np.random.default_rng(0).choice(split.images, max(limit, 1), replace=False)
    return split.part(np.sort(chosen))


def _finite_features(split: StoredSplit, exit: int) -> Array:
    chunk = split.logits[:, exit - 1].astype(np.float32, copy=False)
    logits, _ = _finite_logits(chunk, split.divisors[exit - 1])
    return features(logits, np.empty((len(logits), 0), np.float32))


def _finite_logits(logits: Array, temperature: float) -> tuple[Array, Array]:
    """Logits `(n, C)` over a temperature, with zeros in rows that are not all finite, and which rows are: `(n,)`."""
    scaled = logits / np.float32(temperature)
    finite = scores.finite(scaled)
    return np.where(finite[:, None], scaled, 0), finite


def _first_guess(plain: int, earlier: int) -> Array:
    """Weights that rank images by their largest probability: `plain` features, `earlier` scores and the constant."""
    weights = np.zeros(plain + earlier + 1)
    weights[plain - 2] = 6.0
    weights[-1] = -4.0
    return weights


def _gradients(
    given: list[Array], weights: list[Array], wrong: Array, costs: Array, price: float
) -> tuple[list[Array], float]:
    """The slope of the objective in each exit's weights, and the expected mean cost."""
    images, early = len(wrong), len(weights)
    inputs: list[Array] = []
    score = np.empty((images, early))
    for k in range(early):
        inputs.append(np.column_stack((given[k][:, :-1], score[:, :k], given[k][:, -1])))
        score[:, k] = learned_score(inputs[k], weights[k])
    reach = np.cumprod(np.column_stack((np.ones(images), 1 - score)), axis=1)
    stops = np.column_stack((reach[:, :-1] * score, reach[:, -1]))
    loss = wrong + price * costs
    # What is lost from exit k on by an image that gets there.
    onward = np.empty((images, early + 1))
    onward[:, -1] = loss[:, -1]
    for k in reversed(range(early)):
        onward[:, k] = score[:, k] * loss[:, k] + (1 - score[:, k]) * onward[:, k + 1]
    by_score = reach[:, :-1] * (loss[:, :-1] - onward[:, 1:])
    slopes: list[Array] = [np.empty(0)] * early
    for k in reversed(range(early)):
        by_sum = by_score[:, k] * score[:, k] * (1 - score[:, k])
        slopes[k] = inputs[k].T @ by_sum / images
        by_score[:, :k] += by_sum[:, None] * weights[k][-1 - k : -1]
    return slopes, float((stops @ costs).mean())
