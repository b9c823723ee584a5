"""Several images through the segments at once: those that have stopped leave their batch before the next segment."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from edgemate.policies import Policy, scores
from edgemate.runtime.backends.base import Array
from edgemate.runtime.fallback import Fallback, Rows
from edgemate.runtime.network import FAILURES, Network
from edgemate.runtime.prediction import Prediction


def classify_batch(network: Network, images: Array, policy: Policy) -> list[Prediction]:
    """The answers about float32 images `(N, channels, height, width)`; logits that are not finite are counted.

    Args:
        network: with layout `segments`.
        images: the batch.
        policy: with segment times for so many images where it needs them.

    Raises:
        BackendError: a segment fails, and no earlier exit may answer or has answered every image.
        BundleError: a segment gives other tensors than the manifest says; likewise.
        UsageError: the policy does not fit the network.
    """
    exits = network.exits
    answers: dict[int, Prediction] = {}
    rows = np.arange(len(images))
    fallback = Fallback(len(images)) if network.degrades else None
    started = time.perf_counter_ns()
    decider = policy.begin(len(images), exits)
    flow = network.backend.begin(images)
    try:
        for exit in range(1, exits):
            logits = flow.advance()
            if fallback is not None:
                fallback.add(exit, rows, logits)
            stop = decider.stop(exit, logits, (time.perf_counter_ns() - started) * 1e-6)
            if not stop.any():
                continue
            answers.update(zip(rows[stop].tolist(), predictions(network, logits[stop], exit, started), strict=True))
            kept = np.flatnonzero(~stop)
            rows = rows[kept]
            if not len(rows):
                break
            flow.keep(kept)
            decider.keep(kept)
        else:
            answers.update(zip(rows.tolist(), predictions(network, flow.advance(), exits, started), strict=True))
            if fallback is not None:
                rows = np.array([row for row in rows.tolist() if answers[row].index is None], dtype=np.intp)
    except FAILURES:
        if fallback is None or not fallback.covers(rows):
            raise
    if fallback is not None and len(rows):
        answers.update(_fallback_answers(network, fallback, rows, started))
    network.counts.add_non_finite(decider.non_finite)
    return [answers[row] for row in range(len(images))]


def predictions(network: Network, logits: Array, exit: int, started: int, *, counted: bool = True) -> list[Prediction]:
    """Final answers with these logits.

    Args:
        network: whose temperatures and classes.
        logits: float32 `(n, C)`.
        exit: the exit that they are of.
        started: when the first segment was started, as `perf_counter_ns` says.
        counted: count rows that are not finite.
    """
    milliseconds = (time.perf_counter_ns() - started) * 1e-6
    finite = scores.finite(logits)
    all_finite = finite.all()
    temperatures = network.temperatures
    scaled = logits if temperatures is None else logits / np.float32(temperatures[exit - 1])
    if all_finite:
        probabilities = scores.max_probability(scaled)
    else:
        if counted:
            network.counts.add_non_finite(int(np.count_nonzero(~finite)))
        probabilities = np.where(finite, scores.max_probability(np.where(finite[:, None], scaled, 0)), np.nan)
    classes = network.bundle.manifest.classes
    answers = [
        Prediction(index, classes[index], probability, exit, milliseconds, row, True)
        for index, probability, row in zip(logits.argmax(axis=1).tolist(), probabilities.tolist(), logits, strict=True)
    ]
    if not all_finite:
        for row in np.flatnonzero(~finite).tolist():
            answers[row] = replace(answers[row], index=None, label=None)
    return answers


def _fallback_answers(
    network: Network, fallback: Fallback, rows: Rows, started: int
) -> Iterator[tuple[int, Prediction]]:
    for exit, chosen, logits in fallback.answers(rows):
        for row, answer in zip(chosen.tolist(), predictions(network, logits, exit, started), strict=True):
            yield row, replace(answer, degraded=True)
