"""The network of the small bundle: three exits, two feature maps across the first cut, seeded random weights.

It is written down once, computed here with numpy alone, and written as ONNX by bundles.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

CLASSES = ("circle", "square", "star", "wave")
SHAPES = {"image": (3, 8, 8), "fine": (4, 8, 8), "coarse": (6, 4, 4), "features_2": (6, 4, 4)}
SHAPES |= {f"logits_{exit}": (len(CLASSES),) for exit in (1, 2, 3)}
# What each segment takes and gives.
SEGMENTS = (
    (("image",), ("fine", "coarse", "logits_1")),
    (("fine", "coarse"), ("features_2", "logits_2")),
    (("features_2",), ("logits_3",)),
)


@dataclass(frozen=True)
class Conv:
    """3x3, padded, followed by ReLU."""

    source: str
    to: str
    channels: tuple[int, int]
    stride: int


@dataclass(frozen=True)
class Add:
    left: str
    right: str
    to: str


@dataclass(frozen=True)
class Head:
    """All features of `source` to the logits of an exit."""

    source: str
    exit: int
    features: int


Operation = Conv | Add | Head
STAGES: tuple[tuple[Operation, ...], ...] = (
    (Conv("image", "fine", (3, 4), 1), Conv("image", "coarse", (3, 6), 2), Head("fine", 1, 256)),
    (Conv("fine", "halved", (4, 6), 2), Add("halved", "coarse", "features_2"), Head("features_2", 2, 96)),
    (Conv("features_2", "last", (6, 8), 1), Head("last", 3, 128)),
)


@cache
def weights() -> dict[Operation, np.ndarray]:
    """float32 kernels `(out, in, 3, 3)` and head matrices `(features, classes)`."""
    random = np.random.default_rng(3)
    found: dict[Operation, np.ndarray] = {}
    for operation in (operation for stage in STAGES for operation in stage):
        if isinstance(operation, Conv):
            channels = operation.channels
            found[operation] = random.normal(size=(channels[1], channels[0], 3, 3)).astype(np.float32) / 3
        elif isinstance(operation, Head):
            matrix = 0.2 * random.normal(size=(operation.features, len(CLASSES))).astype(np.float32)
            # Or what all pictures have in common would name the class.
            found[operation] = (matrix - matrix.mean(axis=0)).astype(np.float32)
    return found


def run(stages: Iterable[int], tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All tensors after stages `stages`, counted from 1, have run on `tensors`; float32, batch first."""
    known = dict(tensors)
    for operation in (operation for stage in stages for operation in STAGES[stage - 1]):
        if isinstance(operation, Conv):
            padded = np.pad(known[operation.source], ((0, 0), (0, 0), (1, 1), (1, 1)))
            step = operation.stride
            windows = sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::step, ::step]
            known[operation.to] = np.maximum(np.einsum("nchwij,ocij->nohw", windows, weights()[operation]), 0)
        elif isinstance(operation, Add):
            known[operation.to] = known[operation.left] + known[operation.right]
        else:
            flat = known[operation.source].reshape(len(known[operation.source]), -1)
            known[f"logits_{operation.exit}"] = flat @ weights()[operation]
    return known
