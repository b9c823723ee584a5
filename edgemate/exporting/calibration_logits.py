"""The logits on the calibration split that a bundle carries, so that thresholds can be chosen on the device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgemate.bundle import Graph
from edgemate.bundle.manifest import Layout, Precision
from edgemate.core.chunks import take_rows
from edgemate.core.input_spec import InputSpec
from edgemate.data import EvaluationTransform, load_source, splits_of, stratified_sample
from edgemate.errors import RunError
from edgemate.exporting.verify import layout_logits
from edgemate.runs import Run, SplitLogits

# Size of the logits in a bundle, bytes: all of them for most datasets, a sample with a thousand classes.
MAX_BYTES = 16 << 20
# Images to run through graphs of a lower precision, which limits the time of an export.
MAX_RUN = 5000
BLOCK = 200


def calibration_logits(
    run: Run, folder: Path, layout: Layout, graphs: Sequence[Graph], precision: Precision
) -> SplitLogits:
    """Logits (n, K, C) and labels (n,) of the calibration split, or of a sample with the class fractions kept.

    In float32 they are the run's own. Graphs of a lower precision are run on the images, since thresholds must be
    chosen on the logits that they will be compared with.

    Args:
        run: the run.
        folder: folder that the graphs' file names are relative to.
        layout: layout of the graphs, `segments` or `prefixes`.
        graphs: one per exit.
        precision: precision of the graphs.

    Raises:
        DataError: the precision is not fp32, and the dataset is missing or damaged.
        RunError: it is not the one that the run was trained on.
    """
    stored = run.read_logits("calibration")
    bytes_each = 4 * stored.logits[0].size
    limit = max(MAX_BYTES // bytes_each, 1)
    if precision == "fp32":
        chosen = stratified_sample(stored.labels, limit)
        return SplitLogits(take_rows(stored.logits, chosen).astype(np.float32, copy=False), stored.labels[chosen])
    section = run.read_recipe().data
    source = load_source(section.name, section.options, skip_damaged=section.skip_damaged)
    indices = splits_of(section, source).calibration
    if not np.array_equal(source.train.labels[indices], stored.labels):
        raise RunError(f"{run.path}: was not trained on the images that dataset {section.name} now has")
    chosen = stratified_sample(stored.labels, min(limit, MAX_RUN))
    transform = EvaluationTransform(InputSpec.from_json(run.read_metadata().input))
    computed: list[npt.NDArray[np.float32]] = []
    for start in range(0, len(chosen), BLOCK):
        images = transform(source.train, indices[chosen[start : start + BLOCK]]).numpy()
        computed.append(layout_logits(folder, layout, graphs, images))
    return SplitLogits(np.concatenate(computed), stored.labels[chosen])
