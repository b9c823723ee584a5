"""One answer about one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Prediction:
    """What one exit says about one image.

    `index` and `label` name the class; `probability` is its softmax probability, NaN where a logit is no finite number;
    `exit` counts from 1; `milliseconds` is the time from the start of the image's batch to this answer, network and
    policy, without reading and preparing the image; `logits` is float32 `(C,)`; `final` is false for an answer that
    the stream it came from can still better.
    """

    index: int
    label: str
    probability: float
    exit: int
    milliseconds: float
    logits: npt.NDArray[Any]
    final: bool
