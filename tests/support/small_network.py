"""The network of the small bundle: three exits, two feature maps across the first cut, seeded random weights.

It is written down once, computed here with numpy alone, and written as ONNX by bundles.py. `mixing` is the same network
whose exits answer with weighted sums of what the exits so far say, which crosses the cuts too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

CLASSES = ("circle", "square", "star", "wave")
SHAPES = {"image": (3, 8, 8), "fine": (4, 8, 8), "coarse": (6, 4, 4), "features_2": (6, 4, 4)}
SHAPES |= {f"logits_{exit}": (len(CLASSES),) for exit in (1, 2, 3)}
SHAPES |= {f"raw_logits_{exit}": (exit, len(CLASSES)) for exit in (1, 2)}
# What each segment takes and gives.
SEGMENTS = (
    (("image",), ("fine", "coarse", "logits_1")),
    (("fine", "coarse"), ("features_2", "logits_2")),
    (("features_2",), ("logits_3",)),
)
MIXING_SEGMENTS = (
    (("image",), ("fine", "coarse", "raw_logits_1", "logits_1")),
    (("fine", "coarse", "raw_logits_1"), ("features_2", "raw_logits_2", "logits_2")),
    (("features_2", "raw_logits_2"), ("logits_3",)),
)
MIXING = ((1.0,), (0.5, 1.0), (-0.25, 0.5, 1.0))


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
    gives: str = "logits"


@dataclass(frozen=True)
class Mix:
    """What the exits so far say, `own_<exit>` last, to their weighted sum."""

    exit: int


Operation = Conv | Add | Head | Mix
STAGES: tuple[tuple[Operation, ...], ...] = (
    (Conv("image", "fine", (3, 4), 1), Conv("image", "coarse", (3, 6), 2), Head("fine", 1, 256)),
    (Conv("fine", "halved", (4, 6), 2), Add("halved", "coarse", "features_2"), Head("features_2", 2, 96)),
    (Conv("features_2", "last", (6, 8), 1), Head("last", 3, 128)),
)
MIXING_STAGES: tuple[tuple[Operation, ...], ...] = tuple(
    (*(replace(part, gives="own") if isinstance(part, Head) else part for part in stage), Mix(exit))
    for exit, stage in enumerate(STAGES, start=1)
)
NETWORKS = {"small": (SEGMENTS, STAGES), "mixing": (MIXING_SEGMENTS, MIXING_STAGES)}


@cache
def weights() -> dict[Operation, np.ndarray]:
    """float32 kernels `(out, in, 3, 3)` and head matrices `(features, classes)`, the same for both networks."""
    random = np.random.default_rng(3)
    found: dict[Operation, np.ndarray] = {}
    for operation in (operation for stage in STAGES for operation in stage):
        if isinstance(operation, Conv):
            channels = operation.channels
            found[operation] = random.normal(size=(channels[1], channels[0], 3, 3)).astype(np.float32) / 3
        elif isinstance(operation, Head):
            matrix = 0.2 * random.normal(size=(operation.features, len(CLASSES))).astype(np.float32)
            # Or what all images have in common would name the class.
            found[operation] = (matrix - matrix.mean(axis=0)).astype(np.float32)
            found[replace(operation, gives="own")] = found[operation]
    return found


def run(stages: Iterable[int], tensors: Mapping[str, np.ndarray], network: str = "small") -> dict[str, np.ndarray]:
    """All tensors after stages `stages`, counted from 1, have run on `tensors`; float32, batch first."""
    known = dict(tensors)
    parts = NETWORKS[network][1]
    for operation in (operation for stage in stages for operation in parts[stage - 1]):
        if isinstance(operation, Conv):
            padded = np.pad(known[operation.source], ((0, 0), (0, 0), (1, 1), (1, 1)))
            step = operation.stride
            windows = sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::step, ::step]
            known[operation.to] = np.maximum(np.einsum("nchwij,ocij->nohw", windows, weights()[operation]), 0)
        elif isinstance(operation, Add):
            known[operation.to] = known[operation.left] + known[operation.right]
        elif isinstance(operation, Head):
            flat = known[operation.source].reshape(len(known[operation.source]), -1)
            known[f"{operation.gives}_{operation.exit}"] = flat @ weights()[operation]
        else:
            exit = operation.exit
            earlier = [known[f"raw_logits_{exit - 1}"]] if exit > 1 else []
            said = np.concatenate([*earlier, known[f"own_{exit}"][:, None]], axis=1)
            known[f"raw_logits_{exit}"] = said
            known[f"logits_{exit}"] = np.einsum("k,nkc->nc", np.float32(MIXING[exit - 1]), said)
    return known
