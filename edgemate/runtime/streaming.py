"""Answers about one image as its exits give them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from time import perf_counter_ns

from edgemate.policies.policy import Policy, single_of
from edgemate.policies.scores import finite_of
from edgemate.runtime.backends.base import Array
from edgemate.runtime.network import FAILURES, Network
from edgemate.runtime.prediction import Prediction
from edgemate.runtime.single_path import RowAnswers


def stream_image(network: Network, answers: RowAnswers, image: Array, policy: Policy | None) -> Iterator[Prediction]:
    """One answer per exit; see `AnytimeClassifier.stream`. The last one taken is counted.

    Args:
        network: with layout `segments`.
        answers: of this network.
        image: float32 `(1, channels, height, width)`.
        policy: where it ends, with segment times where it needs them; None at the last exit.
    """
    exits = network.exits
    answer: Prediction | None = None
    finite: Prediction | None = None  # the last one that is an answer
    started = perf_counter_ns()
    decider = None if policy is None else single_of(policy, exits)()
    flow = network.backend.begin_one(image)
    try:
        for exit in range(1, exits + 1):
            # As in `classify`: an answer that is none does not end it, however late the next one comes.
            answered = answer is not None and not math.isnan(answer.probability)
            if answered and policy is not None and not policy.fits(exit, _milliseconds_since(started)):
                return
            network.need_open()
            try:
                row = flow.advance()
            except FAILURES:
                if finite is None or not network.degrades:
                    raise
                answer = _degraded(finite, started)
                yield answer
                return
            is_finite = finite_of(row)
            if not is_finite:
                network.counts.add_non_finite(1)
            final = exit == exits
            if decider is not None and not final:
                if is_finite:
                    final = bool(decider.stop(exit, row, _milliseconds_since(started)))
                else:
                    decider.disregard(exit, row, _milliseconds_since(started))
            answer = answers.of(row.copy(), exit, started, finite=is_finite, final=final)
            if is_finite:
                finite = answer
            elif final and finite is not None and network.degrades:
                answer = _degraded(finite, started)
            if is_finite or final or finite is None:
                yield answer
            else:  # no answer is not better than the one before
                answer = finite
            if final:
                return
    finally:
        flow.end()
        if answer is not None:
            network.counts.add([answer], None if policy is None else policy.deadline_ms)


def _milliseconds_since(started: int) -> float:
    return (perf_counter_ns() - started) * 1e-6


def _degraded(answer: Prediction, started: int) -> Prediction:
    return replace(answer, milliseconds=_milliseconds_since(started), final=True, degraded=True)
