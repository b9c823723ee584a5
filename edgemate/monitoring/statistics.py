"""Statistics of a running classifier: exits taken, probabilities, and what went wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from edgemate import files
from edgemate.bundle.versioned_json import read_versioned

FORMAT_VERSION: Literal[1] = 1

Count = Annotated[int, Field(ge=0)]


class Statistics(BaseModel):
    """Counts of the images that a classifier was given.

    Attributes:
        answers: the number of images that stopped at each exit, `(K,)`.
        probability_sum: the sum of the predicted classes' probabilities, where they are finite.
        non_finite: how often the logits of an image at an exit held a NaN or an infinity. With layout `conditional`
            only the logits of the exit taken are seen.
        deadlines: images that were classified under a deadline.
        late: of those, how many were late.
        degraded: images that a later exit was to answer, which failed; see `AnytimeClassifier.load`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = FORMAT_VERSION
    answers: Annotated[tuple[Count, ...], Field(min_length=1)]
    probability_sum: Annotated[float, Field(ge=0)]
    non_finite: Count = 0
    deadlines: Count = 0
    late: Count = 0
    degraded: Count = 0

    @property
    def images(self) -> int:
        """The number of images classified."""
        return sum(self.answers)

    @property
    def fractions(self) -> tuple[float, ...]:
        """The fraction of images that stopped at each exit, `(K,)`; all 0 without images."""
        return tuple(count / max(self.images, 1) for count in self.answers)

    @property
    def mean_probability(self) -> float:
        """The mean probability of the predicted class; 0 without images."""
        return self.probability_sum / max(self.images, 1)

    def write(self, path: Path) -> None:
        """Write them as JSON, atomically."""
        files.write_json(path, self.model_dump(mode="json"))


def read_statistics(path: Path) -> Statistics:
    """Read statistics. Raises BundleError if they cannot be read."""
    return read_versioned(path, Statistics, FORMAT_VERSION, remedy="collect them again")
