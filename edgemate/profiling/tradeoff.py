"""The trade-off curves: accuracy against MACs, simulated, and against latency, measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.core.scoring import exit_accuracy
from edgemate.exits import Confidence, FixedExit, OperatingPoint, Policy, scores, simulate
from edgemate.models import ExitCost
from edgemate.profiling.profile import Kind, Point
from edgemate.progress import Progress
from edgemate.runs import SplitLogits
from edgemate.runtime import AnytimeClassifier, Latency, Prediction

SIMULATED_THRESHOLDS = 41
MEASURED_THRESHOLDS = 11
PASSES = 5
# Where a call takes longer than this, an interruption is no multiple of it, and so many passes do.
SLOW_MS, PASSES_IF_SLOW = 2.0, 3
BLOCK = 25
WARMUP = 3

Array = npt.NDArray[Any]


def spread_thresholds(logits: Array, costs: Sequence[float], count: int) -> list[float]:
    """Confidence thresholds whose mean costs lie evenly between everything at exit 1 and the whole network.

    Args:
        logits: float32 (N, K, C).
        costs: of stopping at each exit, (K,).
        count: how many to pick; fewer come back where the same threshold would be picked twice.

    Returns:
        Ascending; the first is 0 and the last 1. Empty for one exit, where there is nothing to decide.
    """
    if len(costs) == 1:
        return []
    # An image moves from exit k to k+1 when the threshold reaches the largest confidence of its first k exits.
    moves = np.maximum.accumulate(_confidences(logits), axis=1)
    extra = np.broadcast_to(np.diff(np.asarray(costs, dtype=np.float64)), moves.shape)
    order = np.argsort(moves, axis=None, kind="stable")
    mean_cost = np.cumsum(extra.ravel()[order]) / len(logits)
    targets = np.linspace(0, mean_cost[-1], count)[1:-1]
    picked = moves.ravel()[order][np.searchsorted(mean_cost, targets)]
    return sorted({0.0, *picked.tolist(), 1.0})


def simulated_points(
    test: SplitLogits, costs: Sequence[ExitCost], operating_points: Sequence[OperatingPoint]
) -> list[Point]:
    """Accuracy against MACs on the whole test split, scored from its stored logits."""
    logits, labels = test
    chained = [float(cost.chained_macs) for cost in costs]

    def by_policy(kind: Kind, policy: Policy, threshold: float | None, name: str = "") -> Point:
        found = simulate(logits, labels, chained, policy)
        return point(kind, found.accuracy, found.mean_cost, threshold=threshold, name=name)

    def point(kind: Kind, accuracy: float, macs: float, **which: Any) -> Point:
        return Point(
            curve="accuracy-macs",
            kind=kind,
            accuracy=accuracy,
            macs=macs,
            flops=2 * macs,
            images=len(labels),
            provenance="simulated",
            **which,
        )

    sweep = spread_thresholds(logits, chained, SIMULATED_THRESHOLDS)
    return [
        *(by_policy("threshold", Confidence(threshold), threshold) for threshold in sweep),
        *(by_policy("operating point", named.as_policy(), _single(named), named.name) for named in operating_points),
        *(
            point(_fixed(cost.exit, len(costs)), float(accuracy), float(cost.macs), exit=cost.exit)
            for cost, accuracy in zip(costs, exit_accuracy(logits, labels), strict=True)
        ),
    ]


def measured_points(
    segments: AnytimeClassifier,
    prefixes: AnytimeClassifier,
    images: Array,
    labels: Array,
    thresholds: Sequence[float],
    operating_points: Sequence[OperatingPoint],
    progress: Progress,
) -> list[Point]:
    """Accuracy against latency: every image really classified, at batch 1, by every policy and fixed exit in turn.

    An image's time is that of the whole `classify` call on its ready tensor, the median of five passes, which keeps
    an interruption of many times the network's own time out of the mean; three do where the median call takes longer
    than 2 ms. In every pass all ways to answer take turns over blocks of images, in an order drawn anew for each, so
    that what else the machine does falls on all alike.
    Turns at every single image would be fairer still, but on busy cores waking another session's threads can take
    longer than the network, so each turn begins with calls that are not counted.

    Args:
        segments: the bundle, loaded with that layout: for policies.
        prefixes: the same: for fixed exits, one graph each.
        images: float32 (N, C, H, W).
        labels: int64 (N,).
        thresholds: confidence thresholds to run.
        operating_points: to run as well.
        progress: told how far it is, outside of what is timed.
    """
    ways = _ways(segments, prefixes, thresholds, operating_points)
    milliseconds = np.empty((len(ways), len(images), PASSES))
    passes = PASSES
    answers = np.empty((len(ways), len(images)), dtype=np.int64)
    exits = np.empty((len(ways), len(images)), dtype=np.int64)
    random = np.random.default_rng(0)
    progress.step(f"measuring {len(ways)} ways to answer, image")
    for turn, start in product(range(PASSES), range(0, len(images), BLOCK)):
        if (turn, start) == (1, 0) and np.median(milliseconds[:, :, 0]) > SLOW_MS:
            passes = PASSES_IF_SLOW
        if turn == passes:
            break
        block = range(start, min(start + BLOCK, len(images)))
        for w in random.permutation(len(ways)):
            progress.advance(turn * len(images) + start, passes * len(images))
            for i in block[:WARMUP]:
                ways[w].classify(images[i : i + 1])
            for i in block:
                image = images[i : i + 1]
                started = time.perf_counter_ns()
                (prediction,) = ways[w].classify(image)
                milliseconds[w, i, turn] = (time.perf_counter_ns() - started) * 1e-6
                answers[w, i], exits[w, i] = prediction.index, prediction.exit
    of_images = np.median(milliseconds[:, :, :passes], axis=2)
    return [way.point(answers[w] == labels, exits[w], Latency.of(of_images[w].tolist())) for w, way in enumerate(ways)]


@dataclass(frozen=True)
class _Way:
    """One way to answer: what the point will say of it, how to do it, and MACs per exit it may stop at (K,)."""

    kind: Kind
    name: str
    threshold: float | None
    exit: int | None
    classify: Callable[[Array], list[Prediction]]
    macs: Array

    def point(self, correct: Array, exits: Array, latency: Latency) -> Point:
        """What came of it: per image whether the answer is right (N,) and the exit taken (N,)."""
        macs = float(self.macs[exits - 1].mean())
        return Point(
            curve="accuracy-latency",
            kind=self.kind,
            name=self.name,
            threshold=self.threshold,
            exit=self.exit,
            accuracy=float(correct.mean()),
            macs=macs,
            flops=2 * macs,
            latency_ms=latency.mean,
            latency_p50_ms=latency.p50,
            latency_p99_ms=latency.p99,
            images=len(correct),
            provenance="measured",
        )


def _ways(
    segments: AnytimeClassifier,
    prefixes: AnytimeClassifier,
    thresholds: Sequence[float],
    operating_points: Sequence[OperatingPoint],
) -> list[_Way]:
    chained = np.array([metadata.chained_macs for metadata in segments.exits], dtype=np.float64)
    alone = np.array([metadata.macs for metadata in segments.exits], dtype=np.float64)

    def by_policy(kind: Kind, name: str, threshold: float | None, policy: Policy) -> _Way:
        return _Way(kind, name, threshold, None, partial(segments.classify, policy=policy), chained)

    ways = [by_policy("threshold", "", threshold, Confidence(threshold)) for threshold in thresholds]
    ways += [by_policy("operating point", point.name, _single(point), point.as_policy()) for point in operating_points]
    for exit in range(1, len(segments.exits) + 1):
        kind = _fixed(exit, len(segments.exits))
        ways.append(_Way(kind, "", None, exit, partial(prefixes.classify, policy=FixedExit(exit)), alone))
    return ways


def _fixed(exit: int, exits: int) -> Kind:
    return "full network" if exit == exits else "fixed exit"


def _confidences(logits: Array) -> Array:
    """Largest probability at every exit but the last, (N, K−1)."""
    early = logits[:, :-1]
    confidences: Array = scores.max_probability(early.reshape(-1, logits.shape[-1])).reshape(early.shape[:2])
    return confidences


def _single(point: OperatingPoint) -> float | None:
    """The threshold of an operating point that has the same one at every exit."""
    return point.thresholds[0] if len(set(point.thresholds)) == 1 else None
