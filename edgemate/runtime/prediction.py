"""One answer about one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Prediction:
    """What one exit says about one image.

    Attributes:
        index: of the class; None where a logit is not a finite number, since no class is then the likeliest.
        label: the name of the class; None likewise.
        probability: softmax probability of the class; NaN likewise.
        exit: the exit that answered, counted from 1.
        milliseconds: from the start of the image's batch to this answer, network and policy, without decoding and
            preparing the image, which `Preprocessor.timed` times.
        logits: of that exit, float32 `(C,)`.
        final: false for an answer that the stream it came from can still better.
        degraded: a later exit was to answer and failed; this is the deepest one before it with finite logits.
    """

    index: int | None
    label: str | None
    probability: float
    exit: int
    milliseconds: float
    logits: npt.NDArray[Any]
    final: bool
    degraded: bool = False
