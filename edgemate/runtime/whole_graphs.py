"""The layouts that answer in one run: a prefix, and the conditional graph, which takes one image at a time."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import numpy as np

from edgemate.errors import UsageError
from edgemate.policies import Policy
from edgemate.runtime.backends.base import Array
from edgemate.runtime.batch_path import predictions
from edgemate.runtime.network import Network
from edgemate.runtime.prediction import Prediction


def classify_whole(network: Network, batches: Iterable[Array], policy: Policy) -> Iterator[Prediction]:
    """The answers about batches of float32 images `(N, channels, height, width)`.

    Args:
        network: with layout `prefixes` or `conditional`.
        batches: the images.
        policy: see `AnytimeClassifier.classify`.

    Raises:
        BackendError: the graph fails.
        BundleError: it gives other tensors than the manifest says.
        UsageError: the policy does not fit the layout or the network.
    """
    if network.layout == "prefixes":
        exit = policy.fixed_exit
        if exit is None:
            raise UsageError("policy: layout 'prefixes' answers at a fixed exit only; load the bundle with 'segments'")
        policy.check(network.exits)
        for images in batches:
            started = time.perf_counter_ns()
            yield from predictions(network, network.backend.run_prefix(exit, images), exit, started)
        return
    thresholds = _thresholds(network, policy)
    for images in batches:
        for row in range(len(images)):
            started = time.perf_counter_ns()
            logits, exit = network.backend.run_conditional(images[row : row + 1], thresholds)
            yield from predictions(network, logits, exit, started)


def _thresholds(network: Network, policy: Policy) -> Array:
    thresholds = policy.confidence_thresholds(network.exits)
    if thresholds is None:
        raise UsageError(
            "policy: layout 'conditional' compares probabilities with thresholds, without a temperature; for other "
            "policies load the bundle with 'segments'"
        )
    return np.array(thresholds, dtype=np.float32)
