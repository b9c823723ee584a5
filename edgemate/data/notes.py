"""What a user should know about a dataset before training starts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgemate.core.image_search import kinds_of
from edgemate.data.source import DataSource
from edgemate.data.splits import Splits
from edgemate.wording import counted

_NAMED = 5


def data_notes(sources: Sequence[DataSource], splits: Splits) -> tuple[str, ...]:
    """Lines about how the splits were made, files ignored or left out, and classes that a split lacks.

    Args:
        sources: the dataset, and that of the second domain if it is another one.
        splits: of the first dataset.
    """
    notes = [note for source in sources for note in source.notes]
    for source in sources:
        if source.ignored:
            notes.append(f"{source.name}: ignored, being hidden or no images: {kinds_of(source.ignored)}")
    left_out = [path for source in sources for path in source.left_out]
    if left_out:
        notes.append(f"damaged image files left out: {len(left_out):,}, the first one {left_out[0]}")
    return (*notes, *_lacking(sources[0], splits))


def _lacking(source: DataSource, splits: Splits) -> list[str]:
    size = len(source.classes)
    counts = {
        "training": np.bincount(source.train.labels[splits.train], minlength=size),
        "calibration": np.bincount(source.train.labels[splits.calibration], minlength=size),
        "test": np.bincount(source.test.labels[splits.test], minlength=size),
    }
    total = sum(np.bincount(images.labels, minlength=size) for images in (source.train, source.test))
    notes = []
    if single := [source.classes[k] for k in np.flatnonzero((counts["training"] == 1) & (total == 1))]:
        notes.append(
            f"one image only, in training, of {_listed(single)}: their accuracy is not measured; add images to "
            "have some in each split"
        )
    for split, found in counts.items():
        lacking = [name for name, count in zip(source.classes, found, strict=True) if not count and name not in single]
        if lacking:
            notes.append(f"no {split} images of {_listed(lacking)}")
    return notes


def _listed(classes: Sequence[str]) -> str:
    more = " …" if len(classes) > _NAMED else ""
    return f"{counted(len(classes), 'class')} ({', '.join(classes[:_NAMED])}{more})"
