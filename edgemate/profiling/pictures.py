"""Test pictures of a run's data set, ready for its network."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.data import EvaluationTransform, InputFacts, load_source, stratified_sample, tested_indices
from edgemate.data.source import Pictures
from edgemate.errors import RunError
from edgemate.runs import Run


def sample_test_split(run: Run, count: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Up to `count` pictures of the test split, with the shares of the classes kept.

    Returns:
        Images float32 (n, C, H, W) and labels int64 (n,).

    Raises:
        DataError: the data set is missing or damaged.
        RunError: it is not the one that the run was tested on.
    """
    pictures, indices = sample_test_pictures(run, count)
    transform = EvaluationTransform(InputFacts.from_json(run.read_facts().input))
    images: npt.NDArray[Any] = transform(pictures, indices).numpy()
    return images, pictures.labels[indices]


def sample_test_pictures(run: Run, count: int) -> tuple[Pictures, npt.NDArray[np.int64]]:
    """The same as they are before they are made ready: all test pictures, and the indices (n,). Raises the same."""
    section = run.read_recipe().data
    pictures = load_source(section.name, section.options).test
    tested = tested_indices(pictures.labels, section.test_limit)
    labels = pictures.labels[tested]
    if not np.array_equal(labels, run.read_logits("test").labels):
        raise RunError(f"{run.path}: was not tested on the test pictures that data set {section.name} now has")
    return pictures, tested[stratified_sample(labels, count)]
