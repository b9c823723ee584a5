"""One image through the segments, by one policy.

This is the path of a camera, where a network may take a millisecond. What does not depend on the image is prepared
once: the policy's thresholds, the temperatures, which backend call answers. Per exit there are a segment, one check
that its logits are finite, and the decision.
"""

from __future__ import annotations

import math
from time import perf_counter_ns

import numpy as np

from edgemate.policies.policy import Policy, rule_of, single_of
from edgemate.policies.scores import finite_of, max_probability_of
from edgemate.policies.single import Row, float32s
from edgemate.runtime.backends.base import Answering, Array
from edgemate.runtime.network import FAILURES, Network
from edgemate.runtime.prediction import Prediction

_NO_ROW: Row = np.empty(0, dtype=np.float32)


class SinglePath:
    """Answers single images by `policy`, whose segment times are known where it needs them. Threads may share it.

    Raises:
        UsageError: the policy does not fit the network.
    """

    def __init__(self, network: Network, policy: Policy) -> None:
        exits = network.exits
        self._backend = network.backend
        self._degrades = network.degrades
        self._counts = network.counts
        self._decider = single_of(policy, exits)
        self._exits = range(1, exits + 1)
        self._last = exits
        self._answers = RowAnswers(network)
        rule = rule_of(policy, exits)
        self._answering = None if rule is None else network.backend.answering(rule)

    def answer(self, image: Array) -> Prediction:
        """The answer about one float32 image `(1, channels, height, width)`; logits that are not finite are counted.

        Raises:
            BackendError: a segment fails, and no earlier exit may answer or has answered.
            BundleError: a segment gives other tensors than the manifest says; likewise.
        """
        started = perf_counter_ns()
        if self._answering is not None:
            found = self._answer_of_backend(self._answering, image, started)
            if found is not None:
                return found
        last = self._last
        exit, row = 0, _NO_ROW
        finite = degraded = False
        passed_on = 0
        known: tuple[int, Row] | None = None  # the deepest exit so far with finite logits
        decider = self._decider()
        flow = self._backend.begin_one(image)
        try:
            try:
                for exit in self._exits:
                    row = flow.advance()
                    finite = finite_of(row)
                    if exit == last:
                        break
                    elapsed_ms = (perf_counter_ns() - started) * 1e-6
                    if finite:
                        if decider.stop(exit, row, elapsed_ms):
                            break
                        known = exit, row
                    else:
                        passed_on += 1
                        decider.disregard(exit, row, elapsed_ms)
            except FAILURES:
                if known is None or not self._degrades:
                    raise
                degraded = True
            if not finite and not degraded:
                passed_on += 1
                degraded = self._degrades and known is not None
            if degraded and known is not None:
                exit, row = known
                finite = True
            answer = self._answers.of(row.copy(), exit, started, finite=finite, degraded=degraded)
        finally:
            flow.end()
        if passed_on:
            self._counts.add_non_finite(passed_on)
        return answer

    def _answer_of_backend(self, answering: Answering, image: Array, started: int) -> Prediction | None:
        """The backend's own answer; None where an earlier exit is to answer, which the backend does not know."""
        try:
            row, exit, passed_on = answering(image)
        except FAILURES:
            if self._degrades:
                return None
            raise
        finite = finite_of(row)
        if not finite:
            if self._degrades:
                return None
            passed_on += 1
        answer = self._answers.of(row, exit, started, finite=finite)
        if passed_on:
            self._counts.add_non_finite(passed_on)
        return answer


class RowAnswers:
    """Makes answers of single rows of logits."""

    def __init__(self, network: Network) -> None:
        self._classes = network.bundle.manifest.classes
        temperatures = network.temperatures or (1.0,) * network.exits
        # Dividing by 1 changes nothing and takes time.
        self._temperatures = tuple(one if one != 1 else None for one in float32s(temperatures))

    def of(
        self, row: Row, exit: int, started: int, *, finite: bool, final: bool = True, degraded: bool = False
    ) -> Prediction:
        """The answer with these logits.

        Args:
            row: float32 `(C,)`; the answer keeps them.
            exit: the exit that they are of.
            started: when the first segment was started, as `perf_counter_ns` says.
            finite: whether all of them are.
            final: see `Prediction`.
            degraded: see `Prediction`.
        """
        milliseconds = (perf_counter_ns() - started) * 1e-6
        if not finite:
            return Prediction(None, None, math.nan, exit, milliseconds, row, final, degraded)
        index = int(row.argmax())
        temperature: np.float32 | None = self._temperatures[exit - 1]
        probability = float(max_probability_of(row if temperature is None else row / temperature))
        return Prediction(index, self._classes[index], probability, exit, milliseconds, row, final, degraded)
