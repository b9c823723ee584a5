"""What a bundle's exits say of the calibration split. It travels along, so that thresholds can be chosen anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgemate.bundle import Graph
from edgemate.bundle.manifest import Layout, Precision
from edgemate.data import EvaluationTransform, InputSpec, load_source, splits_of, stratified_sample
from edgemate.errors import RunError
from edgemate.exporting.verify import layout_logits
from edgemate.runs import Run, SplitLogits

# Logits in a bundle, in bytes: all of them for most datasets, a sample of those with a thousand classes.
MAX_BYTES = 16 << 20
# To be answered by graphs of a lower precision, which takes as long as it takes.
MAX_ANSWERED = 5000
BLOCK = 200


def calibration_logits(
    run: Run, folder: Path, layout: Layout, graphs: Sequence[Graph], precision: Precision
) -> SplitLogits:
    """Logits (n, K, C) and labels (n,) of the calibration split, or of a sample with the class fractions kept.

    In float32 they are the run's own. The graphs of a lower precision are asked, since thresholds chosen on other
    numbers than those compared with them would be off.

    Args:
        run: the run.
        folder: where the graphs' files are.
        layout: of the graphs, `segments` or `prefixes`.
        graphs: one per exit.
        precision: of the graphs.

    Raises:
        DataError: the dataset is needed, and missing or damaged.
        RunError: it is not the one that the run was trained on.
    """
    stored = run.read_logits("calibration")
    each = stored.logits[0].nbytes
    most = max(MAX_BYTES // each, 1)
    if precision == "fp32":
        chosen = stratified_sample(stored.labels, most)
        return SplitLogits(stored.logits[chosen], stored.labels[chosen])
    section = run.read_recipe().data
    source = load_source(section.name, section.options)
    indices = splits_of(section, source).calibration
    if not np.array_equal(source.train.labels[indices], stored.labels):
        raise RunError(f"{run.path}: was not trained on the images that dataset {section.name} now has")
    chosen = stratified_sample(stored.labels, min(most, MAX_ANSWERED))
    transform = EvaluationTransform(InputSpec.from_json(run.read_metadata().input))
    answered: list[npt.NDArray[np.float32]] = []
    for start in range(0, len(chosen), BLOCK):
        images = transform(source.train, indices[chosen[start : start + BLOCK]]).numpy()
        answered.append(layout_logits(folder, layout, graphs, images))
    return SplitLogits(np.concatenate(answered), stored.labels[chosen])
