"""Golden samples: real inputs and what the network says to them, so that a device can prove its own numerics."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.data import stratified_sample
from edgemate.runs import Golden


def golden_samples(golden: Golden, logits: npt.NDArray[np.float32], count: int) -> dict[str, npt.NDArray[Any]]:
    """Up to `count` of a run's golden images, from as many classes as there are.

    Args:
        golden: images (n, C, H, W) and labels (n,).
        logits: the network's, (n, K, classes).
        count: how many to take.

    Returns:
        `images`, `labels` and `logits` of those images, as `golden.npz` holds them.
    """
    chosen = stratified_sample(golden.labels, count)
    return {"images": golden.images[chosen], "labels": golden.labels[chosen], "logits": logits[chosen]}
