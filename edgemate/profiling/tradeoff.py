"""The trade-off curves: accuracy against MACs, simulated, and against latency, measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgemate.calibration import OperatingPoint, StoredSplit, simulate_split
from edgemate.core.chunks import map_chunks
from edgemate.core.scoring import exit_accuracy
from edgemate.policies import Confidence, FixedExit, Policy, scores
from edgemate.profiling.profile_result import Kind, Point
from edgemate.progress import Progress
from edgemate.runtime import AnytimeClassifier, Prediction
from edgemate.timing import Latency, report_between_calls, time_in_turns

if TYPE_CHECKING:
    from edgemate.bundle import ExitMetadata
    from edgemate.models import ExitCost
    from edgemate.runs import SplitLogits

SIMULATED_THRESHOLDS = 41
MEASURED_THRESHOLDS = 11
PASSES = 5
# If calls take longer than this, interruptions matter less, and fewer passes are enough.
SLOW_MS, PASSES_IF_SLOW = 2.0, 3
BLOCK = 25
WARMUP = 3

Array = npt.NDArray[Any]


def spread_thresholds(logits: Array, costs: Sequence[float], count: int) -> list[float]:
    """Confidence thresholds whose mean costs are evenly spaced between exit 1 and the full network.

    Args:
        logits: float32 (N, K, C).
        costs: cost of stopping at each exit, (K,).
        count: number of thresholds; duplicates are removed, so fewer may be returned.

    Returns:
        The thresholds, ascending, from 0 to 1; none for a network with one exit.
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
    test: SplitLogits | tuple[Array, Array],
    costs: Sequence[ExitCost | ExitMetadata],
    operating_points: Sequence[OperatingPoint],
) -> list[Point]:
    """Points of accuracy against MACs, simulated from the stored logits (N, K, C) and labels (N,) of a whole split."""
    logits, labels = test
    chained = [float(cost.chained_macs) for cost in costs]
    split = StoredSplit(logits, labels, chained)

    def by_policy(kind: Kind, policy: Policy, threshold: float | None, name: str = "") -> Point:
        found = simulate_split(split, policy)
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
        *(
            by_policy("operating point", named.as_policy(), single_threshold(named), named.name)
            for named in operating_points
        ),
        *(
            point(kind_of_exit(cost.exit, len(costs)), float(accuracy), float(cost.macs), exit=cost.exit)
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
    """Points of accuracy against latency: every image is classified at batch 1 by every policy and fixed exit.

    An image's latency is the time of the whole `classify` call on its preprocessed tensor: the median of five passes,
    which removes interruptions that take many times longer than the network; of three passes if the median call takes
    longer than 2 ms. In every pass all variants take turns over blocks of images, in a random order per block, so that
    other load on the machine affects all alike. Turns at every single image would be fairer, but on busy cores waking
    another session's threads can take longer than the network, so each turn covers a block and begins with calls that
    are not timed.

    Args:
        segments: the bundle, loaded with layout `segments`, for the policies.
        prefixes: the bundle, loaded with layout `prefixes`, for the fixed exits.
        images: preprocessed images, float32 (N, C, H, W).
        labels: int64 (N,).
        thresholds: confidence thresholds to measure.
        operating_points: operating points to measure.
        progress: advanced at each block and once a second, outside of what is timed.
    """
    variants = _variants(segments, prefixes, thresholds, operating_points)
    milliseconds = np.empty((len(variants), len(images), PASSES))
    passes = PASSES
    answers = np.empty((len(variants), len(images)), dtype=np.int64)
    exits = np.empty((len(variants), len(images)), dtype=np.int64)
    random = np.random.default_rng(0)
    progress.step(f"measuring {len(variants)} variants, image")
    turn = start = 0

    def report() -> None:
        progress.advance(turn * len(images) + start, passes * len(images))

    between_calls = report_between_calls(report)
    for turn, start in product(range(PASSES), range(0, len(images), BLOCK)):
        if (turn, start) == (1, 0) and np.median(milliseconds[:, :, 0]) > SLOW_MS:
            passes = PASSES_IF_SLOW
        if turn == passes:
            break
        block = range(start, min(start + BLOCK, len(images)))
        report()
        calls = {w: [partial(variant.classify, images[i : i + 1]) for i in block] for w, variant in enumerate(variants)}
        for timed in time_in_turns(calls, warmup=WARMUP, random=random, before=between_calls):
            w, i, (prediction,) = timed.key, block[timed.index], timed.result
            milliseconds[w, i, turn] = timed.milliseconds
            answers[w, i] = -1 if prediction.index is None else prediction.index  # -1 is no label
            exits[w, i] = prediction.exit
    per_image = np.median(milliseconds[:, :, :passes], axis=2)
    return [
        variant.point(answers[w] == labels, exits[w], Latency.of(per_image[w].tolist()))
        for w, variant in enumerate(variants)
    ]


@dataclass(frozen=True)
class _Variant:
    """A policy or fixed exit to measure: values of its point, the call, and the MACs of stopping at each exit, (K,)."""

    kind: Kind
    name: str
    threshold: float | None
    exit: int | None
    classify: Callable[[Array], list[Prediction]]
    macs: Array

    def point(self, correct: Array, exits: Array, latency: Latency) -> Point:
        """The point, from whether each prediction is correct, bool (N,), and the exit taken, int64 (N,)."""
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


def _variants(
    segments: AnytimeClassifier,
    prefixes: AnytimeClassifier,
    thresholds: Sequence[float],
    operating_points: Sequence[OperatingPoint],
) -> list[_Variant]:
    chained = np.array([metadata.chained_macs for metadata in segments.exits], dtype=np.float64)
    alone = np.array([metadata.macs for metadata in segments.exits], dtype=np.float64)

    def by_policy(kind: Kind, name: str, threshold: float | None, policy: Policy) -> _Variant:
        return _Variant(kind, name, threshold, None, partial(segments.classify, policy=policy), chained)

    variants = [by_policy("threshold", "", threshold, Confidence(threshold)) for threshold in thresholds]
    variants += [
        by_policy("operating point", point.name, single_threshold(point), point.as_policy())
        for point in operating_points
    ]
    for exit in range(1, len(segments.exits) + 1):
        kind = kind_of_exit(exit, len(segments.exits))
        variants.append(_Variant(kind, "", None, exit, partial(prefixes.classify, policy=FixedExit(exit)), alone))
    return variants


def kind_of_exit(exit: int, exits: int) -> Kind:
    """The kind of the point of a fixed exit: the last one is the full network."""
    return "full network" if exit == exits else "fixed exit"


def _confidences(logits: Array) -> Array:
    """Largest probability at every exit but the last, (N, K−1); 0 where logits are not finite, which stop nothing."""
    found = np.zeros((len(logits), logits.shape[1] - 1), dtype=np.float32)

    def of_chunk(chunk: Array, rows: slice) -> None:
        early = chunk[:, :-1].reshape(-1, chunk.shape[-1])
        confidences = np.zeros(len(early), dtype=np.float32)
        finite = scores.finite(early)
        confidences[finite] = scores.max_probability(early[finite])
        found[rows] = confidences.reshape(len(chunk), -1)

    for _ in map_chunks(of_chunk, logits):
        pass
    return found


def single_threshold(point: OperatingPoint) -> float | None:
    """The threshold of an operating point that has the same one at every exit."""
    thresholds = set(point.thresholds or ())
    return thresholds.pop() if len(thresholds) == 1 else None
