"""Samples of the test images of a run's dataset."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.core.input_spec import InputSpec
from edgemate.data import EvaluationTransform, load_source, stratified_sample, tested_indices
from edgemate.data.source import Images
from edgemate.errors import RunError
from edgemate.runs import Run


def sample_test_split(run: Run, count: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Up to `count` images of the test split, stratified by class and preprocessed.

    Returns:
        Images float32 (n, C, H, W) and labels int64 (n,).

    Raises:
        DataError: the dataset is missing or damaged.
        RunError: it is not the one that the run was tested on.
    """
    images, indices = sample_test_images(run, count)
    transform = EvaluationTransform(InputSpec.from_json(run.read_metadata().input))
    ready: npt.NDArray[Any] = transform(images, indices).numpy()
    return ready, images.labels[indices]


def sample_test_images(run: Run, count: int) -> tuple[Images, npt.NDArray[np.int64]]:
    """The sample of `sample_test_split` before preprocessing: all test images, and the sample's indices, int64 (n,).

    Raises:
        DataError: the dataset is missing or damaged.
        RunError: it is not the one that the run was tested on.
    """
    images, tested = tested_images(run)
    return images, tested[stratified_sample(images.labels[tested], count)]


def tested_images(run: Run) -> tuple[Images, npt.NDArray[np.int64]]:
    """All test images, and the indices of those that the run was tested on, int64 (N,), in the order of its logits.

    Raises:
        DataError: the dataset is missing or damaged.
        RunError: it is not the one that the run was tested on.
    """
    section = run.read_recipe().data
    images = load_source(section.name, section.options, skip_damaged=section.skip_damaged).test
    tested = tested_indices(images.labels, section.test_limit)
    if not np.array_equal(images.labels[tested], run.read_logits("test").labels):
        raise RunError(f"{run.path}: was not tested on the test images that dataset {section.name} now has")
    return images, tested
