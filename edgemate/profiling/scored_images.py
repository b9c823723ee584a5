"""`ScoredImages`: what a bundle was scored on, and how tables, pages and files name it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgemate.runtime.preprocessing import ImageInput

Split = Literal["test", "calibration", "images"]

_NAMES: dict[str, str] = {
    "test": "the test split",
    "calibration": "the calibration split",
    "images": "the images given",
}


@dataclass(frozen=True, eq=False)
class ScoredImages:
    """Labeled images that were given for a bundle, with what every exit answers. Kept in memory, not stored.

    Attributes:
        logits: float32 `(N, K, C)`.
        labels: int64 `(N,)`.
        images: paths or uint8 arrays, N of them.
    """

    logits: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    images: Sequence[ImageInput]


def source_of(split: str, data: str | None = None) -> str:
    """What accuracies are of: `the test split`, or `the images given (photos)`, `data` being their folder or file."""
    name = _NAMES.get(split, split)
    return f"{name} ({data})" if split == "images" and data else name


def source_of_profile(profile: Mapping[str, Any]) -> str:
    """The same of a profile's JSON."""
    return source_of(profile["split"], profile.get("data"))
