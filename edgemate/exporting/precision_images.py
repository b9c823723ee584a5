"""The images of the calibration split that a lower precision is calibrated and verified on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgemate.core.input_spec import InputSpec
from edgemate.data import EvaluationTransform, load_source, splits_of, stratified_sample
from edgemate.errors import RunError
from edgemate.runs import Run

# INT8 ranges settle after some hundred images; a change of accuracy takes more to see.
RANGE_IMAGES = 256
CHECK_IMAGES = 500


@dataclass(frozen=True, eq=False)
class PrecisionImages:
    """Two disjoint samples of the calibration split, both stratified by class.

    Attributes:
        indices: indices of the images for the ranges in the dataset's training images, ascending.
        ranges: those images after preprocessing, float32 (n, C, H, W).
        images: the images for verification after preprocessing, float32 (m, C, H, W).
        labels: labels of `images`, int64 (m,).
    """

    indices: tuple[int, ...]
    ranges: npt.NDArray[np.float32]
    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


def precision_images(run: Run) -> PrecisionImages:
    """Draw both samples, the same ones on every machine. A small split is divided in half.

    Raises:
        DataError: the dataset is missing or damaged.
        RunError: it is not the one that the run was trained on, or its calibration split holds one image.
    """
    section = run.read_recipe().data
    source = load_source(section.name, section.options, skip_damaged=section.skip_damaged)
    calibration = splits_of(section, source).calibration
    labels = source.train.labels[calibration]
    if not np.array_equal(labels, run.read_logits("calibration").labels):
        raise RunError(f"{run.path}: was not trained on the images that dataset {section.name} now has")
    if len(labels) < 2:
        raise RunError(
            f"{run.path}: one calibration image is too few to calibrate a precision; raise data.calibration_fraction"
        )
    chosen = stratified_sample(labels, min(RANGE_IMAGES, len(labels) // 2))
    rest = np.setdiff1d(np.arange(len(labels)), chosen)
    checked = rest[stratified_sample(labels[rest], CHECK_IMAGES)]
    transform = EvaluationTransform(InputSpec.from_json(run.read_metadata().input))
    return PrecisionImages(
        tuple(calibration[chosen].tolist()),
        transform(source.train, calibration[chosen]).numpy(),
        transform(source.train, calibration[checked]).numpy(),
        labels[checked],
    )
