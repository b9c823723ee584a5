"""What a run folder holds besides weights: metadata, logits, golden images, and the progress of the training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Split = Literal["calibration", "test", "target_test"]
"""`target_test` is the test split of the second domain, in runs that have one."""

Float = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RunMetadata:
    """What using a run's network requires to know of its data.

    Attributes:
        dataset: name of the dataset.
        input: channels, height, width and preprocessing, as `edgemate.core.input_spec.InputSpec` writes itself.
        classes: names, in the order of the logits.
        cuts: names of the cut points, one per exit.
        images: split → number of images.
    """

    dataset: str
    input: dict[str, Any]
    classes: tuple[str, ...]
    cuts: tuple[str, ...]
    images: dict[str, int]


class SplitLogits(NamedTuple):
    """Logits of every exit on a split, float32 (N, K, C), and labels, int64 (N,), in the order of its loader.

    Those of a large split are mapped from the file, read-only, and float16 above `runs.logits_file.HALF_FROM` bytes.
    """

    logits: Float
    labels: Labels


class Golden(NamedTuple):
    """Some test images after preprocessing, float32 (n, C, H, W), and their labels, int64 (n,)."""

    images: Float
    labels: Labels


@dataclass(frozen=True)
class TrainingProgress:
    """Progress of a training that is running.

    Attributes:
        epoch: the current one, counted from 1; 0 with `work`.
        epochs: number of epochs of the training; 0 with `work`.
        step: steps done in this epoch, or units of `work`.
        steps: steps per epoch, or units of `work`.
        seconds_left: estimate for the rest of the training, or of `work`, s; None before there is one.
        work: what is done before or after the epochs, such as `caching features, view 1 of 1, image`; None in them.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    seconds_left: float | None
    work: str | None = None
