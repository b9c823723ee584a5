"""Thresholds with a certified bound: with probability at least 1 − δ, no more than ε of the accuracy is lost.

The bound is on the risk R = E[whole network correct] − E[early exit correct], for images of the distribution that the
calibration split was drawn from. The loss of one image is 1 where only the whole network is correct, −1 where only the
early exit is, else 0; its signed mean is the accuracy lost, which "Fast yet Safe" (Jazbec et al. 2024, arXiv
2405.20915) controls too.

One threshold, common to all exits, is lowered from "never" along a grid that was fixed before any image was seen.
At each step the hypothesis R ≥ ε is tested; the last threshold before the first that cannot be rejected at level δ is
taken. Testing in a fixed sequence needs no correction for the number of tests (Learn then Test, Angelopoulos et al.
2021, arXiv 2110.01052, section 2.3). For the same reason the logits are not scaled: temperatures fitted on these
images would move the grid with them.

The test is a bet. Under the hypothesis, Π (1 + λ (ε − loss_i)) has an expectation of at most 1 for every λ in
[0, 1/(1−ε)] that is chosen beforehand, and so has the mean over several such λ; by Markov's inequality it exceeds 1/δ
with probability at most δ (Waudby-Smith & Ramdas 2024, arXiv 2010.09686). Exact for every number of images, and
unlike Hoeffding's bound it gains from losses being rare. The choice of this test and of the λ is ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgemate.calibration.solvers.problem import Problem, policy_thresholds
from edgemate.calibration.stored_split import StoredSplit
from edgemate.errors import UsageError
from edgemate.policies.confidence import Confidence
from edgemate.policies.score_policy import ScorePolicy

_BETS = 0.98 * 2.0 ** -np.arange(0, 6, 0.5)  # in units of the largest there may be
_MAX_IMAGES = 10**12  # that are worth naming; a loss rate just below the risk may take any number
# How far below "never" each step is, in units of all there is; fine near the start, where confident networks differ.
_GRID = np.append(np.geomspace(1e-6, 0.5, 400), np.linspace(0.5, 1, 201)[1:])


@dataclass(frozen=True)
class Certification:
    """A policy and the bound certified for it.

    Attributes:
        policy: that of the lowest threshold that is certified; the whole network if none is.
        risk: ε.
        delta: δ.
        images: how many it was tested on.
        lost: of those, how many only the whole network classifies correctly.
        gained: how many only the early exit classifies correctly.
        certified: whether the bound holds. A network of one exit loses nothing.
        required_samples: if not certified: about how many images it takes; None if no number does.
    """

    policy: ScorePolicy
    risk: float
    delta: float
    images: int
    lost: int
    gained: int
    certified: bool
    required_samples: int | None


def certify(
    split: StoredSplit, risk: float, delta: float, score_policy: type[ScorePolicy] = Confidence
) -> Certification:
    """The policy that stops earliest while the accuracy lost is at most `risk`, with probability 1 − `delta`.

    Args:
        split: independent images that the network was not trained on; its temperatures are not used.
        risk: ε, a fraction of all images: 0.01 is one point.
        delta: δ, the probability, over draws of the split, that the bound fails.
        score_policy: the policy whose threshold is chosen.

    Raises:
        UsageError: `risk` or `delta` is not between 0 and 1.
    """
    for name, value in (("risk", risk), ("delta", delta)):
        if not 0 < value < 1:
            raise UsageError(f"{name}: must lie between 0 and 1, not {value}")
    problem = Problem.of(replace(split, temperatures=None), score_policy)
    chosen, losses, certified, required = problem.never, (0, 0), True, None
    for threshold in _grid(problem):
        found = _losses(problem, threshold)
        if p_value(found, split.images, risk) > delta:
            if chosen == problem.never:
                certified, required = False, samples_required(found, split.images, risk, delta)
            break
        chosen, losses = threshold, found
    thresholds = (chosen,) * problem.early
    policy = score_policy(policy_thresholds(score_policy, thresholds), temperature=(1.0,) * problem.early)
    return Certification(policy, risk, delta, split.images, *losses, certified, required)


def p_value(losses: Sequence[float], images: float, risk: float) -> float:
    """The p-value of the hypothesis "the accuracy lost is `risk` or more".

    Args:
        losses: how many images only the whole network classifies correctly, and how many only the early exit.
        images: the number of all images.
        risk: ε, a fraction.
    """
    lost, gained = losses
    bets = _BETS / (1 - risk)
    wealth = lost * np.log1p(bets * (risk - 1)) + gained * np.log1p(bets * (risk + 1))
    wealth = wealth + (images - lost - gained) * np.log1p(bets * risk)
    mean = np.logaddexp.reduce(wealth) - math.log(len(bets))
    return math.exp(-max(float(mean), 0.0))


def samples_required(losses: Sequence[int], images: int, risk: float, delta: float) -> int | None:
    """About how many images it takes to reject the hypothesis; None if no number does.

    It assumes that the fractions lost and gained stay as they are, or that nothing is lost if the hypothesis would
    never be rejected otherwise.

    Args:
        losses: how many images only the whole network classifies correctly, and how many only the early exit.
        images: the number of all images.
        risk: ε, a fraction.
        delta: δ, a probability.
    """
    rates = [count / images for count in losses]
    if rates[0] - rates[1] >= risk:
        rates = [0.0, 0.0]

    def enough(number: int) -> bool:
        return p_value([rate * number for rate in rates], number, risk) <= delta

    high = 1
    while not enough(high):
        if high > _MAX_IMAGES:
            return None
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _grid(problem: Problem) -> list[float]:
    """The thresholds to test, from the strictest on; none where there is one exit."""
    if not problem.early:
        return []
    return [float(np.float32(problem.never - part * (problem.never - problem.lowest))) for part in _GRID.tolist()]


def _losses(problem: Problem, threshold: float) -> tuple[int, int]:
    stops = problem.stops((threshold,) * problem.early)
    early = problem.correct[np.arange(len(stops)), stops]
    full = problem.correct[:, -1]
    return int((full & ~early).sum()), int((early & ~full).sum())
